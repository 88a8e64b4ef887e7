// How one queue wakes another. A poke carries nothing and coalesces; a mailbox carries values in
// order. Both may be used from any thread; their handlers run on the queue given at init. These two
// are the only things in Host that cross queues.

package import Dispatch
import Synchronization

/// Wakes a stage on its queue; a thousand pokes before it runs are one turn.
package final class Poke: Sendable {
    // Safety: dispatch objects are thread-safe (dispatch_source(3)); the overlay does not say so.
    private nonisolated(unsafe) let source: any DispatchSourceUserDataAdd

    /// `handler` holds what it captures until this object ends.
    package init(_ queue: DispatchQueue, _ handler: @escaping () -> Void) {
        let source = DispatchSource.makeUserDataAddSource(queue: queue)
        source.setEventHandler(handler: handler)
        source.activate()
        // Safety: see the declaration; here and below only thread-safe calls are made on it.
        unsafe self.source = source
    }

    deinit { unsafe source.cancel() }

    package func callAsFunction() { unsafe source.add(data: 1) }
}

/// Hands values to a queue, in the order in which they were posted.
package final class Mailbox<Item: Sendable>: Sendable {
    private final class Shelf: Sendable {
        let items = Mutex<[Item]>([])

        func takeAll() -> [Item] {
            items.withLock { items in
                let all = items
                items = []
                return all
            }
        }
    }

    private let shelf: Shelf
    private let poke: Poke

    package init(_ queue: DispatchQueue, _ handler: @escaping (Item) -> Void) {
        let shelf = Shelf()
        self.shelf = shelf
        poke = Poke(queue) { for item in shelf.takeAll() { handler(item) } }
    }

    package func post(_ item: Item) {
        shelf.items.withLock { $0.append(item) }
        poke()
    }
}
