// The district store. Everything is in Field and Host: closures written here would inherit the main actor.

import Field

Programs.main(Programs.store)
