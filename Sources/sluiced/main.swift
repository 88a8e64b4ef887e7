// The gateway daemon, and the store when it is called so: the package ships both as one file of 14 MB.
// Everything is in Field and Host: closures written here would inherit the main actor.

import Field

Programs.main(Programs.daemon(calledAs: CommandLine.arguments[0]))
