// The way between gateway and store: connections that are refused, break or swallow bytes, delays and
// partitions; and the store's calls and deaths.

import Model
import Store
import TestSupport
import Uplink

extension Simulation {
    func connect() {
        connectAttempt += 1
        let attempt = connectAttempt
        let isRefused = !isCalm && random.chance(0.3)
        let away = partitionedUntil > time.nanoseconds ? partitionedUntil - time.nanoseconds : 0
        plan(milliseconds: Int(away / 1_000_000) + random.below(100)) { [unowned self] in
            guard attempt == connectAttempt, let gateway else { return }
            if isRefused { return gateway.tellUplink(.connectFailed("refused")) }
            link = Link(store.openSession())
            gateway.tellUplink(.connected)
        }
    }

    /// Ends the connection; the store learns of it somewhat later.
    func drop(telling: Bool) {
        connectAttempt += 1
        guard let ended = link else { return }
        link = nil
        ended.isOpen = false
        plan(milliseconds: random.below(2000)) { ended.session.ended() }
        if telling { gateway?.tellUplink(.disconnected("broken")) }
    }

    func send(_ bytes: [UInt8]) {
        guard let link else { return }
        if !isCalm, random.chance(0.03) {
            // Part arrives, then the connection breaks or goes silent.
            carry(Array(bytes.prefix(random.below(bytes.count + 1))), on: link)
            if random.chance(0.6) {
                plan(milliseconds: random.below(300)) { [unowned self] in
                    if self.link === link { drop(telling: true) }
                }
            }
            link.swallows = true
            return
        }
        carry(bytes, on: link)
    }

    func carry(_ bytes: [UInt8], on link: Link) {
        guard !link.swallows, !bytes.isEmpty else { return }
        plan(at: nextFree(of: link)) { [unowned self] in
            storeJobs.append { [unowned self] in arrive(bytes, on: link) }
        }
    }

    /// Bytes of one connection keep their order.
    func nextFree(of link: Link) -> UInt64 {
        var delay = random.below(40)
        if !isCalm, random.chance(0.01) { delay += random.below(5000) }
        link.free =
            max(link.free, partitionedUntil, time.nanoseconds + UInt64(delay) * 1_000_000) + 1
        return link.free
    }

    func arrive(_ bytes: [UInt8], on link: Link) {
        // Bytes that were under way when the gateway closed still arrive; a session that ended
        // takes nothing.
        guard !link.isDead else { return }
        let (reply, closes): ([UInt8], Bool)
        do { (reply, closes) = try storeReceives(bytes, link.session) } catch {
            return fault("the store: \(error)")
        }
        if !isCalm, random.chance(0.02) { link.swallows = true }
        guard !link.swallows, link.isOpen else { return }
        plan(at: nextFree(of: link)) { [unowned self] in
            guard self.link === link, !link.swallows else { return }
            if !reply.isEmpty { gateway?.tellUplink(.received(reply)) }
            if closes { drop(telling: true) }
        }
    }

    // MARK: Store

    func crashStore() throws {
        let directory = folder.path + "/store-\(figures.crashesOfStore)"
        if random.chance(0.5) {
            TemporaryFolder.copy(storeDirectory, to: directory)
        } else {
            storeDisk.crash(after: 0, in: storeDirectory, to: directory, seed: random.next()) {}
        }
        try crashStore(leaving: directory, isConnected: false)
    }

    func crashStore(leaving directory: String, isConnected: Bool) throws {
        figures.crashesOfStore += 1
        graveyard.append(store)
        storeDirectory = directory
        storeJobs.removeAll()
        store = try Store(directory: directory, settings: storeSettings)
        if isConnected {
            // The answer that is on its way still arrives.
            let left = link
            left?.isDead = true
            return plan(milliseconds: 6000) { [unowned self] in
                if let left, link === left { drop(telling: true) }
            }
        }
        if random.chance(0.5) {
            drop(telling: true)
        } else {
            link?.swallows = true
        }
    }

    func planPartition() {
        plan(milliseconds: 1000 + random.below(12_000)) { [unowned self] in
            guard !isCalm else { return }
            figures.partitions += 1
            partitionedUntil = time.nanoseconds + UInt64(random.below(8000)) * 1_000_000
            planPartition()
        }
    }

    func planStore() {
        plan(milliseconds: 500 + random.below(3000)) { [unowned self] in
            storeJobs.append { [unowned self] in
                do { _ = try store.settle(rows: 100) } catch { fault("settling: \(error)") }
            }
            planStore()
        }
    }
}
