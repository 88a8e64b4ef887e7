// Asks a store, whether it is a folder on this machine or a store at HOST:PORT, with the same
// answer.
// Blocks; on the tool's main thread.

import Host
import Model
package import Store
package import Uplink

package struct QuestionError: Error, Hashable, Sendable {
    package var what: String
    package var why: String
    package var remedy: String
}

package enum StoreQuestion {
    /// Gives `body` every row that the filter wants, in the store's order.
    package static func ask(
        _ place: String, _ filter: QueryFilter, _ body: (StoredReading) -> Void
    ) throws(QuestionError) {
        if Files.isFolder(place) {
            let reader = try open(place)
            do {
                try reader.query(filter, body)
            } catch {
                throw refusal(.sqlite(error), place)
            }
            return
        }
        guard let address = HostPort(place) else {
            throw QuestionError(
                what: place, why: "is neither a folder nor HOST:PORT",
                remedy: "name the store's data folder or its address")
        }
        try askNetwork(address, filter, body)
    }

    package static func open(_ folder: String) throws(QuestionError) -> StoreReader {
        guard Files.exists("\(folder)/\(Store.fileName)") else {
            throw QuestionError(
                what: folder, why: "holds no store (there is no \(Store.fileName))",
                remedy: "name the data folder of sluice-store")
        }
        do throws(StoreError) {
            return try StoreReader(directory: folder)
        } catch {
            throw refusal(error, folder)
        }
    }

    /// A store error's own sentence; what it says to do stands after its last colon.
    private static func refusal(_ error: StoreError, _ place: String) -> QuestionError {
        var words = error.description
        var remedy = "name the data folder of sluice-store of this version"
        if case .sqlite = error, let colon = words.lastIndex(of: ":") {
            remedy = String(words[words.index(after: colon)...]).trimmingBlanks
            words = String(words[..<colon])
        }
        return QuestionError(what: place, why: words, remedy: remedy)
    }

    private static func askNetwork(
        _ address: HostPort, _ filter: QueryFilter, _ body: (StoredReading) -> Void
    ) throws(QuestionError) {
        let gone = QuestionError(
            what: address.description, why: "the store does not answer",
            remedy: "is sluice-store running there?")
        do {
            let endpoint = try Endpoint.resolve(host: address.host, port: address.port)
            let sender = try StreamSender(to: endpoint)
            let poller = try Poller()
            try poller.add(sender, token: 0)
            var client = QueryClient(
                filter: filter, name: "sluice-query", software: "sluice \(Program.version)")
            var outbox = client.opening
            var isConnected = false
            var silentSince = SendingClock.now
            while !client.isDone {
                guard SendingClock.now - silentSince < 15_000_000_000 else { throw gone }
                for ready in poller.wait(nanoseconds: 1_000_000_000) {
                    if ready.isWritable, !isConnected {
                        if let error = sender.connectError() { throw error }
                        isConnected = true
                    }
                    if ready.isReadable, isConnected {
                        silentSince = SendingClock.now
                        outbox += try receive(sender, &client, body, gone)
                    }
                }
                if isConnected, !outbox.isEmpty { outbox.removeFirst(try sender.send(outbox)) }
                try poller.watch(
                    sender, token: 0, writable: !isConnected || !outbox.isEmpty)
            }
        } catch let error as SendingError {
            throw QuestionError(
                what: address.description, why: Files.words(error.code),
                remedy: "is sluice-store running there?")
        } catch let error as QuestionError {
            throw error
        } catch {
            throw gone
        }
    }

    private static func words(_ failure: QueryClient.Failure) -> String {
        switch failure {
        case .wire(let error): error.description
        case .goodbye(let goodbye): "the store ended the conversation (\(goodbye.code.word))"
        case .unexpected: "it answers something else than was asked"
        }
    }

    private static func receive(
        _ sender: borrowing StreamSender, _ client: inout QueryClient,
        _ body: (StoredReading) -> Void, _ gone: QuestionError
    ) throws(QuestionError) -> [UInt8] {
        switch sender.receive() {
        case .nothing: return []
        case .ended: throw gone
        case .bytes(let bytes):
            do throws(QueryClient.Failure) {
                let (rows, send) = try client.receive(bytes)
                rows.forEach(body)
                return send
            } catch {
                throw QuestionError(
                    what: gone.what, why: words(error), remedy: "is that a sluice-store?")
            }
        }
    }
}
