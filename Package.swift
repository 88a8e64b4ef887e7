// swift-tools-version: 6.2
// The rooms of Sluice and the only arrows between them (Sources/ARCHITECTURE.md). A target that is not
// listed here as a dependency cannot be imported: the build refuses it (`--explicit-target-dependency-
// import-check error` in .ci/run), and TidyTests checks the same table in the sources.
import PackageDescription

// MARK: Settings

/// With FUZZ set everything is built for libFuzzer (Tests/Fuzz/run), in a build folder of its own.
let isFuzzing = Context.environment["FUZZ"] != nil
let isComparing = Context.environment["FUZZ"] == "comparisons"
/// Without the calls at each comparison that `fuzzer` implies (they took a quarter of the time; FUZZ=
/// comparisons brings them back): edges only, which must then name the counters that libFuzzer reads.
let edges = [
    "-sanitize-coverage=edge", "-Xllvm", "-sanitizer-coverage-inline-8bit-counters",
    "-Xllvm", "-sanitizer-coverage-pc-table",
]
let fuzzer: [SwiftSetting] =
    isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address"] + (isComparing ? [] : edges))] : []

let strict: [SwiftSetting] =
    fuzzer + [
        .swiftLanguageMode(.v6),
        .strictMemorySafety(),
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        // Storing a Span in the decoder's cursor needs lifetime annotations, still experimental in 6.3.
        .enableExperimentalFeature("Lifetimes"),
        // Small functions of Model and Ring are called for each reading from other rooms.
        .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
        // So that the linker can put those that run side by side (`program`).
        .unsafeFlags(["-Xfrontend", "-function-sections"], .when(configuration: .release)),
    ]

func room(_ name: String, _ dependencies: [String]) -> Target {
    .target(name: name, dependencies: dependencies.map { .byName(name: $0) }, swiftSettings: strict)
}

func program(_ name: String, _ dependencies: [String]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies.map { .byName(name: $0) }, swiftSettings: strict,
        linkerSettings: [
            // Addresses of the libraries' functions are found at the start and then read-only.
            .unsafeFlags(["-Xlinker", "-z", "-Xlinker", "now"]),
            // The toolchain's own linker, which puts the functions that a loaded gateway runs side by side,
            // as Tests/function-order found them: the kernel maps 64 KB around each page that is touched.
            // Names that are gone do no harm.
            .unsafeFlags(
                [
                    "-use-ld=lld", "-Xlinker", "--no-warn-symbol-ordering", "-Xlinker",
                    "--symbol-ordering-file=\(Context.packageDirectory)/Sources/functions.order",
                ], .when(configuration: .release)),
        ])
}

func tests(_ name: String, _ dependencies: [String], exclude: [String] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies.map { .byName(name: $0) }, exclude: exclude,
        swiftSettings: strict)
}

func support(_ name: String, _ dependencies: [String]) -> Target {
    .target(
        name: name, dependencies: dependencies.map { .byName(name: $0) }, path: "Tests/\(name)",
        swiftSettings: strict)
}

/// A program that tests kill, trace and measure.
func script(_ name: String, _ path: String, _ dependencies: [String]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies.map { .byName(name: $0) }, path: path,
        swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])])
}

/// C for tests: a disk that fails, over SQLite's own.
func cSupport(_ name: String) -> Target {
    .target(
        name: name, path: "Tests/\(name)",
        cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])],
        linkerSettings: [.linkedLibrary("sqlite3")])
}

/// Built only for fuzzing: nothing ships it.
let fuzz: [Target] =
    isFuzzing
    ? [
        .executableTarget(
            name: "Fuzz",
            dependencies: [
                "Batches", "Exchanges", "Field", "Formats", "Host", "Model", "Uplink",
            ],
            path: "Tests/Fuzz", exclude: ["run", "seeds"], swiftSettings: strict,
            // gold ends with an internal error over the sanitizer's symbols.
            linkerSettings: [
                .unsafeFlags([
                    "-sanitize=fuzzer,address", "-use-ld=lld",
                    // Tests/Fuzz/Coverage.swift
                    "-Xlinker", "--wrap=__sanitizer_cov_8bit_counters_init",
                    "-Xlinker", "--wrap=__sanitizer_cov_pcs_init",
                ])
            ])
    ] : []

/// With SLUICE_TESTS set only the tests of these names are built, with what they need.
let chosen = Context.environment["SLUICE_TESTS"].map { $0.split(separator: " ").map(String.init) }

let package = Package(
    name: "sluice",
    products: [
        .executable(name: "sluiced", targets: ["sluiced"]),
        .executable(name: "sluice", targets: ["sluice"]),
        .executable(name: "sluice-store", targets: ["sluice-store"]),
    ],
    targets: [
        .target(name: "CLinux", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]),
        .target(name: "CBench", cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]),
        .systemLibrary(name: "CPrefetch"),
        .systemLibrary(name: "CSQLite", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),

        room("Model", []),
        room("SQLite", ["CSQLite"]),
        room("Formats", ["Model", "CPrefetch"]),
        room("Exchanges", ["Formats", "Model"]),
        room("Catalog", ["Model", "SQLite"]),
        room("Ring", ["Model"]),
        room("Batches", ["Model", "CZlib"]),
        room("Spool", ["Model", "SQLite"]),
        room("Uplink", ["Model"]),
        room(
            "Pipeline",
            ["Model", "Formats", "Exchanges", "Catalog", "Ring", "Batches", "Spool", "Uplink"]),
        room("Store", ["Model", "Batches", "SQLite", "Uplink"]),
        room(
            "Host",
            [
                "CLinux", "Model", "Formats", "Exchanges", "Catalog", "Ring", "Batches", "Spool",
                "Uplink", "Pipeline", "Store",
            ]),
        room(
            "Field",
            [
                "Model", "Formats", "Catalog", "Ring", "Batches", "Spool", "Uplink", "Pipeline",
                "Store", "Host",
            ]),
        program("sluiced", ["Field"]),
        program("sluice", ["CBench", "Field"]),
        program("sluice-store", ["Field"]),

        // What the tests of several rooms share.
        cSupport("CFaults"),
        support("TestSupport", ["CFaults"]),
        support(
            "Simulator",
            [
                "TestSupport", "Model", "Formats", "Exchanges", "Catalog", "Ring", "Batches",
                "Spool",
                "Uplink", "Pipeline", "Store",
            ]),
        script("simulate", "Tests/Simulate", ["Simulator"]),
        script("spool-script", "Tests/SpoolScript", ["Spool", "Model"]),

        tests("ModelTests", ["Model"]),
        tests("FormatsTests", ["Formats", "Model"]),
        tests("ExchangesTests", ["Exchanges", "Formats", "Model"]),
        tests("CatalogTests", ["Catalog", "SQLite", "Model"]),
        tests("RingTests", ["Ring", "Model"], exclude: ["tsan", "tsan.sh"]),
        tests("BatchesTests", ["Batches", "Model"]),
        tests("SpoolTests", ["TestSupport", "Spool", "SQLite", "Model", "spool-script"]),
        tests("UplinkTests", ["Uplink", "Model"]),
        tests("StoreTests", ["TestSupport", "Store", "Batches", "Uplink", "SQLite", "Model"]),
        tests(
            "PipelineTests",
            [
                "TestSupport", "Simulator",
                "Pipeline", "Exchanges", "Formats", "Catalog", "Ring", "Batches", "Spool", "Store",
                "Uplink", "Model",
            ]),
        tests("HostTests", ["Host", "Exchanges", "Catalog", "Pipeline", "Formats", "Model"]),
        tests("FieldTests", ["CBench", "Field", "Host", "Formats", "Uplink", "Model"]),
        tests("TidyTests", []),
        tests(
            "EndToEndTests",
            ["TestSupport", "Field", "Host", "Store", "Batches", "Uplink", "Formats", "Model"]),
    ] + fuzz
)

if let chosen {
    var needed = Set(chosen)
    for _ in package.targets {
        for target in package.targets where needed.contains(target.name) {
            for case .byNameItem(let name, _) in target.dependencies { needed.insert(name) }
        }
    }
    package.products = []
    package.targets.removeAll { !needed.contains($0.name) }
}
