// The status page: `/` of the admin endpoint. One self-contained document that asks `/status` every two
// seconds and draws the way of the water. ECMAScript 5 and plain CSS, so that an old browser and a phone
// show it; everything that comes from outside is set as text, never as markup. Colours are never
// the only sign: a loss says how many.

enum StatusPage {
    /// Nothing is loaded from elsewhere, nothing may be.
    static let policy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        + "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"

    static let html = head + style + body + "<script>\n" + script + "</script>\n</html>\n"

    private static let head = """
        <!DOCTYPE html>
        <html lang="en">
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <link rel="icon" href="data:,">
        <title>Sluice</title>

        """

    private static let style = """
        <style>
        body { margin: 0; font: 16px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
          background: #f4f6f8; color: #1c2731; }
        header, main { max-width: 72rem; margin: 0 auto; padding: 0 1rem; }
        header { padding-top: 1rem; }
        h1 { font-size: 1.4rem; margin: 0; }
        h2 { font-size: 1.1rem; margin: 1.6rem 0 .5rem; }
        .quiet { color: #55636f; margin: 0; }
        #health { margin: .8rem 0; padding: .7rem 1rem; border-radius: .4rem;
          border-left: .5rem solid #6b7a87; background: #fff; }
        #health strong { font-size: 1.1rem; }
        #health ul { margin: .3rem 0 0; padding-left: 1.2rem; }
        #health.good { border-color: #1a7f4b; }
        #health.bad { border-color: #c22121; }
        #way { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; }
        #way li { flex: 1 1 10.5rem; box-sizing: border-box; margin: .3rem; padding: .7rem .8rem;
          background: #fff;
          border-radius: .4rem; border-top: .3rem solid #1d6fb8; position: relative; }
        #way h3 { margin: 0; font-size: .95rem; }
        #way .arrow { float: right; color: #1d6fb8; }
        #way .figure { font-size: 1.5rem; font-weight: 600; margin: .2rem 0 0; }
        #way p { margin: .1rem 0; font-size: .85rem; }
        #way .loss { color: #b01c1c; font-weight: 600; }
        #way li.hurt { border-top-color: #c22121; }
        #tank { height: .6rem; border: 1px solid #6b7a87; border-radius: .3rem; overflow: hidden;
          margin: .3rem 0; }
        #level { height: 100%; width: 0; background: #1d6fb8; }
        #level.high { background: #c22121; }
        svg { width: 100%; height: 4.5rem; background: #fff; border-radius: .4rem; display: block; }
        polyline { fill: none; stroke: #1d6fb8; stroke-width: 2;
          vector-effect: non-scaling-stroke; }
        .pair { display: flex; flex-wrap: wrap; }
        .pair > div { flex: 1 1 18rem; margin: .3rem; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; background: #fff; border-radius: .4rem; }
        th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #d9e0e6; }
        td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
        td.loss { color: #b01c1c; font-weight: 600; }
        a { color: #1d5f9e; }
        a:focus, .scroll:focus { outline: 3px solid #e0a100; }
        footer { margin: 2rem 0; }
        @media (max-width: 26rem) { #way .arrow { transform: rotate(90deg); } }
        @media (prefers-color-scheme: dark) {
          body { background: #10171d; color: #e4eaef; }
          #health, #way li, svg, table { background: #1a242d; }
          .quiet { color: #9aa8b4; }
          th, td { border-color: #2d3a45; }
          #way .loss, td.loss { color: #ff8080; }
          #way .arrow { color: #62abea; }
          polyline { stroke: #62abea; }
          a { color: #7fbcf2; }
        }
        </style>

        """

    private static let body = """
        <header>
        <h1>Sluice <span id="gateway"></span></h1>
        <p class="quiet" id="when">asking the gateway…</p>
        <noscript><p>This page needs scripts. <code>sluice status</code> shows the same.</p>
        </noscript>
        <div id="health" role="status" aria-live="polite"><strong id="verdict">asking…</strong>
        <ul id="reasons"></ul></div>
        </header>
        <main>
        <h2 id="way-title">The way of the water</h2>
        <ol id="way" aria-labelledby="way-title"></ol>
        <div class="pair">
        <div><h2 id="in-title">Frames a second, last five minutes</h2>
        <svg id="in" role="img" aria-labelledby="in-title" viewBox="0 0 150 40"
          preserveAspectRatio="none"><polyline points=""></polyline></svg>
        <p class="quiet" id="in-words"></p></div>
        <div><h2 id="out-title">Readings kept by the store a second</h2>
        <svg id="out" role="img" aria-labelledby="out-title" viewBox="0 0 150 40"
          preserveAspectRatio="none"><polyline points=""></polyline></svg>
        <p class="quiet" id="out-words"></p></div>
        </div>
        <h2 id="sources-title">Sources</h2>
        <div class="scroll" tabindex="0" role="region" aria-labelledby="sources-title">
        <table><thead><tr><th scope="col">Source</th><th scope="col">Where</th>
        <th scope="col">Formats</th><th scope="col" class="number">Received</th>
        <th scope="col" class="number">a second</th>
        <th scope="col" class="number">Connections</th>
        <th scope="col" class="number">Dropped by the kernel</th></tr></thead>
        <tbody id="sources"></tbody></table></div>
        <h2 id="refused-title">Refused frames</h2>
        <div class="scroll" tabindex="0" role="region" aria-labelledby="refused-title">
        <table><thead><tr><th scope="col">Reason</th><th scope="col" class="number">Frames</th>
        </tr></thead><tbody id="refused"></tbody></table></div>
        <h2 id="ledger-title">Ledger</h2>
        <div class="scroll" tabindex="0" role="region" aria-labelledby="ledger-title">
        <table><tbody id="ledger"></tbody></table></div>
        <footer class="quiet">The same for programs: <a href="status">status</a>,
        <a href="health">health</a>, <a href="ledger">ledger</a>, <a href="metrics">metrics</a>.
        </footer>
        </main>

        """
}
