// The field tool. Everything is in Field: closures written here would inherit the main actor.

import CBench
import Field

Programs.main(
    Programs.sluice(
        allocations: sluice_allocations,
        queue: QueueYardstick(
            reset: sluice_queue_reset, alternate: sluice_queue_alternate, push: sluice_queue_push,
            pop: sluice_queue_pop), sink: sluice_bare_sink))
