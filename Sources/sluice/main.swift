// The field tool. Everything is in Field: closures written here would inherit the main actor.

import CAllocations
import Field

Programs.main(Programs.sluice(allocations: sluice_allocations))
