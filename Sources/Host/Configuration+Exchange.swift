// The keys of a source that leads a conversation: `exchange`, `paths`, `observe`, `topics`; and
// what becomes of them at start. Part of Configuration.

import Exchanges
import Formats
import Pipeline

/// A text with its place in the file.
struct PlacedText {
    var text: String
    var place: Mark
}

/// A member of an object that maps texts to names.
struct PlacedRoute {
    var name: String
    var format: String
    var place: Mark
}

extension ConfigurationReader {
    mutating func texts(_ node: JSONNode, _ key: Key) -> [PlacedText]? {
        guard let elements = node.array else {
            wrong(node, key, "a list of texts: [\"…\"]")
            return nil
        }
        var texts: [PlacedText] = []
        for element in elements {
            guard let text = element.string, (1...256).contains(text.utf8.count) else {
                wrong(element, key, "a text of 1 to 256 bytes in quotes")
                continue
            }
            texts.append(PlacedText(text: text, place: mark(element)))
        }
        return texts
    }

    mutating func routes(_ node: JSONNode, _ key: Key) -> [PlacedRoute]? {
        guard let members = node.members else {
            wrong(node, key, "an object: { \"…\": \"format\" }")
            return nil
        }
        var routes: [PlacedRoute] = []
        for member in members {
            let place = mark(member)
            guard (1...256).contains(member.key.utf8.count) else {
                complain(place, "a key of \"\(key.path)\" is too long", "write at most 256 bytes")
                continue
            }
            guard let format = member.value.string, isName(format) else {
                wrong(member.value, key, "the name of a format")
                continue
            }
            routes.append(PlacedRoute(name: member.key, format: format, place: place))
        }
        return routes
    }
}

extension KeyValues {
    fileprivate func routes(_ path: String) -> [PlacedRoute] {
        if case .routes(let routes) = self[path] { return routes }
        return []
    }
}

extension Configuration.Source {
    /// Most of each kind; a device's messages are compared with them one by one.
    private static let maximumRoutes = 64

    mutating func readExchange(_ group: KeyValues, _ reader: inout ConfigurationReader) {
        exchange = ExchangeKind(rawValue: group.text("sources.exchange"))
        if exchange != nil, listen.transport != .udp {
            reader.complain(
                group.place("sources.exchange"), "\"exchange\" is for UDP",
                "listen on udp://…, or leave it out")
        }
        readPaths(group, &reader)
        readObserve(group, &reader)
        readTopics(group, &reader)
    }

    private mutating func readPaths(_ group: KeyValues, _ reader: inout ConfigurationReader) {
        let routes = group.routes("sources.paths")
        check(
            routes.count, "paths", for: [.coap, .lwm2m], at: group.place("sources.paths"), &reader)
        for route in routes {
            if !route.name.hasPrefix("/") || route.name.hasSuffix("/") {
                reader.complain(
                    route.place, "\"\(route.name)\" is no path",
                    "begin with / and do not end with it: \"/t/r\"")
            }
            paths.append(
                Configuration.Route(name: route.name, format: route.format, mark: route.place))
        }
    }

    private mutating func readObserve(_ group: KeyValues, _ reader: inout ConfigurationReader) {
        let texts = group.texts("sources.observe")
        check(texts.count, "observe", for: [.lwm2m], at: group.place("sources.observe"), &reader)
        for path in texts {
            let parts = path.text.split(separator: "/", omittingEmptySubsequences: false)
            let isPath =
                parts.first == "" && (2...4).contains(parts.count)
                && parts.dropFirst().allSatisfy { part in
                    UInt16(part).map { "\($0)" == part } ?? false
                }
            if !isPath {
                reader.complain(
                    path.place, "\"\(path.text)\" is no LwM2M path",
                    "write object, instance and resource: \"/3303/0/5700\"")
            }
            observe.append(path.text)
        }
    }

    private mutating func readTopics(_ group: KeyValues, _ reader: inout ConfigurationReader) {
        let routes = group.routes("sources.topics")
        check(routes.count, "topics", for: [.mqttSN], at: group.place("sources.topics"), &reader)
        for route in routes {
            let levels = route.name.split(separator: "/", omittingEmptySubsequences: false)
            let isGood = levels.enumerated().allSatisfy { place, level in
                (!level.contains("+") || level == "+")
                    && (!level.contains("#") || level == "#" && place == levels.count - 1)
            }
            if !isGood {
                reader.complain(
                    route.place, "\"\(route.name)\" is no topic filter",
                    "+ stands for one whole level, # for all that follow, at the end")
            }
            topics.append(
                Configuration.Route(name: route.name, format: route.format, mark: route.place))
        }
    }

    private func check(
        _ count: Int, _ key: String, for kinds: [ExchangeKind], at place: Mark,
        _ reader: inout ConfigurationReader
    ) {
        guard count > 0 else { return }
        if !kinds.contains(where: { $0 == exchange }) {
            let words = kinds.map { "exchange: \"\($0.rawValue)\"" }.joined(separator: " or ")
            reader.complain(place, "\"\(key)\" means nothing here", "write \(words) beside it")
        }
        if count > Configuration.Source.maximumRoutes {
            reader.complain(
                place, "more than \(Configuration.Source.maximumRoutes) in \"\(key)\"",
                "use several sources")
        }
    }

    // MARK: At start

    /// Gives the intake's source its exchange and the formats that this needs besides the listed ones.
    func addExchange(
        to source: inout IntakeSource, _ library: FormatLibrary
    ) throws(StartError) {
        guard let exchange else { return }
        var settings = ExchangeSettings(kind: exchange)
        settings.listed = source.formats.count
        for name in ExchangeSettings.implied(exchange) {
            guard let format = library.format(named: name),
                !source.formats.contains(where: { $0 === format })
            else { continue }
            source.formats.append(format)
        }
        for route in paths {
            let place = try place(of: route.format, in: &source, library)
            settings.paths.append(.init(name: Array(route.name.utf8), format: place))
        }
        for route in topics {
            let place = try place(of: route.format, in: &source, library)
            settings.topics.append(.init(name: Array(route.name.utf8), format: place))
        }
        settings.observe = observe.map { Array($0.utf8) }
        source.exchange = settings
    }

    private func place(
        of name: String, in source: inout IntakeSource, _ library: FormatLibrary
    ) throws(StartError) -> Int {
        guard let format = library.format(named: name) else {
            let known = library.formats.map(\.name).sorted().joined(separator: " ")
            throw StartError("source \(self.name): no format \"\(name)\": write one of \(known)")
        }
        if let place = source.formats.firstIndex(where: { $0 === format }) { return place }
        source.formats.append(format)
        return source.formats.count - 1
    }
}
