// A network namespace for the field tool's load runs. Namespaces without a name end with the last
// process in them, so that there is nothing to clean up, however the tool ends.

import CLinux

package enum OwnNetwork {
    /// Moves this thread, and what it starts from now on, into a namespace with nothing in it but a
    /// loopback device that is down. Sockets that are open stay where they were.
    package static func enter() throws(SendingError) {
        let result = sluice_sending_own_network()
        if result < 0 { throw SendingError("make a network namespace", code: -result) }
    }
}
