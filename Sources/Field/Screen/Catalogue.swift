// The one catalogue of what the field tool says to a person, English and Chinese (simplified) side by side:
// the compiler asks for both of each phrase, a test for the same placeholders.
//
// Glossary: datagram 数据报, frame 帧, reading 读数, source 来源, device 设备, stream 测点, format 规约,
// gateway 网关, store 存储端, intake 接入, bucket 时间桶, journal 日志, batch 批, spool 暂存, uplink 上行,
// credit 额度, ledger 账本, unaccounted 未入账, refused 拒收, duplicate 重复, control 控制, held 留存,
// acknowledged 已确认, dropped 丢弃, evicted 淘汰, sent again and backlog 补发, answer 应答, silent 静默,
// replay 回放, capture 抓包, endpoint 端点, observed 观测.

package struct Texts: Sendable {
    package var english: String
    package var chinese: String

    init(_ english: String, _ chinese: String) {
        self.english = english
        self.chinese = chinese
    }
}

extension Phrase {
    package var texts: Texts {
        if let texts = moreTexts { return texts }
        return switch self {
        case .headSource: Texts("source", "来源")
        case .headListens: Texts("listens on", "监听")
        case .headDatagrams: Texts("datagrams", "数据报")
        case .headPerSecondAverage: Texts("/s avg", "均/秒")
        case .headPerSecondNow: Texts("/s now", "现/秒")
        case .headReceived: Texts("received", "已收")
        case .headBytesAverage: Texts("B/s avg", "均 B/秒")
        case .headBytesNow: Texts("B/s now", "现 B/秒")
        case .headDrops: Texts("drops", "内核丢弃")
        case .headConnections: Texts("conns", "连接")
        case .headRefused: Texts("refused", "拒收")
        case .rowRefused: Texts("refused", "拒收")
        case .rowSilent: Texts("silent", "静默")
        case .rowIntake: Texts("intake", "接入")
        case .rowBuckets: Texts("buckets", "时间桶")
        case .rowJournal: Texts("journal", "日志")
        case .rowSpool: Texts("spool", "暂存")
        case .rowUplink: Texts("uplink", "上行")
        case .rowFrames: Texts("frames", "帧")
        case .rowReadings: Texts("readings", "读数")
        case .rowLedger: Texts("ledger", "账本")
        case .up: Texts("up {0}", "已运行 {0}")
        case .healthy: Texts("healthy", "正常")
        case .needsAttention: Texts("needs attention", "需要注意")
        case .notHealthy: Texts("NOT HEALTHY", "异常")
        case .more: Texts("  … {0} more", "  … 另有 {0} 行")
        case .nothing: Texts("nothing", "无")
        case .perSecond: Texts("{0} {1} ({2}/s)", "{0} {1} ({2}/秒)")
        case .silentOver: Texts("{0} of {1} over {2}", "{1} 台中 {0} 台超过 {2}")
        case .silentOwn: Texts("{0} of {1} over their period or {2}", "{1} 台中 {0} 台超过各自周期或 {2}")
        case .devicesFigure: Texts("devices {0}", "设备 {0}")
        case .streamsFigure: Texts("streams {0}", "测点 {0}")
        case .answersWaiting: Texts("answers waiting {0}", "待应答 {0}")
        case .ringFree: Texts("ring free {0}", "环形区空闲 {0}")
        case .noRoom: Texts("NO ROOM", "已满")
        case .readingsFigure: Texts("{0} readings", "{0} 条读数")
        case .onTheirWay: Texts("on their way {0}", "途中 {0}")
        case .onDisk: Texts("on disk {0}", "磁盘 {0}")
        case .parts: Texts("parts {0}", "分段 {0}")
        case .inMemory: Texts("in memory {0}", "内存 {0}")
        case .batchesFigure: Texts("{0} batches", "{0} 批")
        case .usedOf: Texts("{0} of {1} used", "已用 {0}，上限 {1}")
        case .evicted: Texts("evicted {0}", "淘汰 {0}")
        case .damaged: Texts("damaged {0}", "损坏 {0}")
        case .lagNone: Texts("lag none", "无滞后")
        case .drainsIn: Texts("drains in {0}", "{0} 后补发完")
        case .behindBy: Texts("behind by {0} readings", "滞后 {0} 条读数")
        case .uplinkFor: Texts("{0} {1} for {2}", "{0} {1} 已 {2}")
        case .stateStopped: Texts("stopped", "已停止")
        case .stateWaiting: Texts("waiting", "等待重连")
        case .stateConnecting: Texts("connecting", "连接中")
        case .stateGreeting: Texts("greeting", "握手中")
        case .stateStreaming: Texts("streaming", "传输中")
        case .inFlight: Texts("in flight {0}", "在途 {0}")
        case .credit: Texts("credit {0}", "额度 {0}")
        case .perSecondSize: Texts("{0}/s", "{0}/秒")
        case .ledgerReceived: Texts("received {0} =", "已收 {0} =")
        case .ledgerDecoded: Texts("decoded {0}", "已解码 {0}")
        case .ledgerDuplicate: Texts("+ duplicate {0}", "+ 重复 {0}")
        case .ledgerControl: Texts("+ control {0}", "+ 控制 {0}")
        case .ledgerRefused: Texts("+ refused {0}", "+ 拒收 {0}")
        case .ledgerReadings: Texts("decoded {0} =", "已解码 {0} =")
        case .ledgerAcknowledged: Texts("acknowledged {0}", "已确认 {0}")
        case .ledgerHeld: Texts("+ held {0}", "+ 留存 {0}")
        case .ledgerDropped: Texts("+ dropped {0}", "+ 丢弃 {0}")
        case .ledgerEvicted: Texts("+ evicted {0}", "+ 淘汰 {0}")
        case .unaccounted: Texts("unaccounted {0}", "未入账 {0}")
        case .kernelDrops: Texts("kernel drops {0}", "内核丢弃 {0}")
        case .memory: Texts("RSS {0}", "内存占用 {0}")
        case .processor: Texts("CPU {0} s", "处理器 {0} 秒")
        case .keys: Texts("keys", "按键")
        case .keyLeave: Texts("  q, Ctrl-C   leave", "  q、Ctrl-C   退出")
        case .keySort: Texts("  s           sort by the next of: {0}", "  s           依次排序：{0}")
        case .keyTurn: Texts("  r           turn the order round", "  r           倒序")
        case .keyFilter:
            Texts(
                "  /           filter by a part of the name; Enter keeps it, Esc drops "
                    + "it",
                "  /           按名称过滤；回车保留，Esc 取消")
        case .keyDevices:
            Texts(
                "  d           devices, the longest silent first; again: sources",
                "  d           设备，静默最久者在前；再按回到来源")
        case .keyScroll:
            Texts(
                "  up, down    scroll; also j and k, PgUp and PgDn",
                "  上、下      滚动；也可用 j、k、PgUp、PgDn")
        case .keyPause: Texts("  space       stop and go on", "  空格        暂停与继续")
        case .keyPace: Texts("  + and -     refresh more and less often", "  + 和 -      刷新更快、更慢")
        case .keyHelp:
            Texts(
                "  h or ?      this help; any key leaves it",
                "  h 或 ?      本帮助；任意键离开")
        case .promptQuit: Texts("q quit", "q 退出")
        case .promptSort: Texts("s sort: {0}", "s 排序：{0}")
        case .promptTurned: Texts("s sort: {0} (turned)", "s 排序：{0}（倒序）")
        case .promptFilter: Texts("/ filter", "/ 过滤")
        case .promptFiltered: Texts("/ filter: {0}", "/ 过滤：{0}")
        case .promptTyping: Texts("filter: {0}_", "过滤：{0}_")
        case .promptSources: Texts("d sources", "d 来源")
        case .promptDevices: Texts("d devices", "d 设备")
        case .promptHelp: Texts("h help", "h 帮助")
        case .promptPaused: Texts("PAUSED (space)", "已暂停（空格）")
        case .asking: Texts("asking the daemon", "正在询问守护进程")
        case .answered: Texts("{0}: answered {1}", "{0}：答复 {1}")
        case .orderName: Texts("name", "名称")
        case .orderRate: Texts("rate", "速率")
        case .orderDatagrams: Texts("datagrams", "数据报")
        case .orderBytes: Texts("bytes", "字节数")
        case .orderDrops: Texts("drops", "丢弃")
        case .orderRefused: Texts("refused", "拒收")
        case .headDevice: Texts("device", "设备")
        case .headFormat: Texts("format", "规约")
        case .headStreams: Texts("streams", "测点")
        case .headFirstSeen: Texts("first seen", "首次收到")
        case .headLastSeen: Texts("last seen", "最近收到")
        case .headSilent: Texts("silent", "静默")
        case .headPeriod: Texts("period", "周期")
        case .noDevices: Texts("no devices yet", "还没有设备")
        case .noSuchDevices: Texts("no such devices", "没有这样的设备")
        case .ago: Texts("{0} ({1} ago)", "{0}（{1} 前）")
        case .notSinceStart: Texts("not since the gateway started", "网关启动后未收到")
        case .unknownPeriod: Texts("not known yet", "尚不知")
        case .everySpan: Texts("about {0}", "约 {0}")
        case .headEndpoint: Texts("endpoint", "端点")
        case .noReadingsYet: Texts("no readings in the store yet", "存储端还没有读数")
        case .unknownDevice:
            Texts(
                "sluice: {0}: the gateway knows no such device: did you mean {1}?",
                "sluice：{0}：网关没有这台设备：是否指 {1}？")
        case .unknownDeviceList:
            Texts(
                "sluice: {0}: the gateway knows no such device: `sluice devices` lists "
                    + "them",
                "sluice：{0}：网关没有这台设备：`sluice devices` 列出全部设备")
        case .noStore:
            Texts(
                "sluice: the gateway has no store: its readings cannot be shown: add "
                    + "--store",
                "sluice：网关没有配置存储端：无法显示读数：请加 --store")
        case .watchMoved: Texts("(was at {0})", "（原为 {0}）")
        case .watchSummary: Texts("{0}; endpoint changes {1}", "{0}；端点变更 {1}")
        case .headCounter: Texts("counter", "计数项")
        case .headCount: Texts("count", "数值")
        case .unknown: Texts("unknown", "未知")
        case .noJSON:
            Texts(
                "sluice: {0}: the answer is no JSON: is this a sluiced?",
                "sluice：{0}：答复不是 JSON：对方是 sluiced 吗？")
        case .answeredFor:
            Texts(
                "sluice: {0}: answered {1} for {2}: is this a sluiced?",
                "sluice：{0}：对 {2} 答复 {1}：对方是 sluiced 吗？")
        case .headStream: Texts("stream", "测点")
        case .headObserved: Texts("observed", "观测时间")
        case .headObservedAt: Texts("observed at", "观测于")
        case .headValue: Texts("value", "数值")
        case .headUnit: Texts("unit", "单位")
        case .headQuality: Texts("quality", "质量")
        case .noReadings: Texts("no readings", "没有读数")
        case .stoppedAtLimit:
            Texts(
                "sluice: query: stopped at --limit {0}: raise it for more",
                "sluice：query：到 --limit {0} 为止：如需更多请调大")
        case .notDrawn:
            Texts(
                "sluice: query: {0} more are not drawn: name one with --device and "
                    + "--stream",
                "sluice：query：另有 {0}未画出：用 --device 和 --stream 指定一个")
        case .nounStream: Texts("stream", "个测点")
        case .nounByte: Texts("byte", "字节")
        case .nounFrame: Texts("frame", "帧")
        case .decodeHead: Texts("{0}, {1}", "{0}，{1}")
        case .decodeHeadDevice: Texts("{0}, {1}, device {2}", "{0}，{1}，设备 {2}")
        case .refusedAt: Texts("refused: {0} at offset {1}", "拒收：{0}，偏移 {1}")
        case .refusedPlain: Texts("refused: {0}", "拒收：{0}")
        case .controlFrame: Texts("control frame, no readings", "控制帧，没有读数")
        case .answerLine: Texts("answer: {0}", "应答：{0}")
        case .headField: Texts("field", "字段")
        case .headOffset: Texts("offset", "偏移")
        case .headBytes: Texts("bytes", "字节")
        case .headNote: Texts("note", "说明")
        case .onArrival: Texts("on arrival", "到达时")
        case .fromArrival: Texts("{0} ms from arrival", "距到达 {0} 毫秒")
        case .lineNumber: Texts("line {0}", "第 {0} 行")
        case .notHex:
            Texts(
                "sluice: {0}: is not hex: write two hex digits a byte",
                "sluice：{0}：不是十六进制：每字节写两位")
        case .standardInput: Texts("standard input", "标准输入")
        case .pipeHex:
            Texts(
                "sluice: {0}: {1}: pipe hex lines into it",
                "sluice：{0}：{1}：请用管道送入十六进制行")
        case .holdsNoFrame: Texts("holds no frame", "没有帧")
        case .nounDatagram: Texts("datagram", "个数据报")
        case .nounPiece: Texts("stream piece", "段流数据")
        case .nounEndpoint: Texts("endpoint", "个端点")
        case .nounConnection: Texts("connection", "个连接")
        case .nounAnswer: Texts("answer", "个应答")
        case .nounRecord: Texts("record", "条记录")
        case .replaySent: Texts("sent {0} ({1}) from {2} in {3} s", "用 {3} 秒从 {2} 发送 {0}（{1}）")
        case .replayAnswers: Texts("received {0}, {1}", "收到 {0}，{1}")
        case .replayUnsent: Texts("not sent: {0}", "未发送：{0}")
        case .replayUnsentWhy:
            Texts(
                " (connection refused or closed by the gateway)",
                "（连接被网关拒绝或关闭）")
        case .replayRefused: Texts("refused: {0}", "被拒：{0}")
        case .replayRefusedWhy: Texts(" (nobody listens at that port)", "（该端口无人监听）")
        case .headFrame: Texts("frame", "帧号")
        case .headMilliseconds: Texts("ms", "毫秒")
        case .replayOver:
            Texts(
                "{0} over {1}; --speed max sends them at once",
                "{0}，历时 {1}；--speed max 立即全部发送")
        case .replayProgress: Texts("{0}, {1} of {2}", "{0}，{1} / {2}")
        case .replaySpeeding: Texts("{0}, {1} sent", "{0}，已发送 {1}")
        case .replayIdentities:
            Texts(
                "{0} with other identities, {1} as they were",
                "{0}换了身份，{1} 帧未变")
        case .cannotRead:
            Texts(
                "sluice: {0}: cannot be read: {1}: name a capture file",
                "sluice：{0}：无法读取：{1}：请指定抓包文件")
        case .isListening:
            Texts(
                "sluice: {0}: {1}: {2}: is the gateway listening there?",
                "sluice：{0}：{1}：{2}：网关在那里监听吗？")
        case .restNotReplayed:
            Texts(
                "sluice: {0}: the rest cannot be replayed",
                "sluice：{0}：其余无法回放")
        case .restNotCompared:
            Texts(
                "sluice: {0}: the rest cannot be compared",
                "sluice：{0}：其余无法比较")
        case .nothingSent:
            Texts(
                "sluice: nothing was sent: the capture holds no such bytes: try --to "
                    + "{0}://…, --port or --from server",
                "sluice：什么也没有发送：抓包中没有这样的字节：试试 --to {0}://…、--port 或 --from server")
        case .nobodyListens:
            Texts(
                "sluice: {0}: nobody listens there: start the gateway or name another "
                    + "--to",
                "sluice：{0}：无人监听：请启动网关或换一个 --to")
        case .interrupted: Texts("sluice: interrupted: the rest was not sent", "sluice：已中断：其余未发送")
        case .captureNote: Texts("capture: {0} {1}", "抓包：{0} {1}")
        case .noteForeign:
            Texts(
                "frames that are neither UDP nor TCP over IP",
                "帧既不是 IP 上的 UDP 也不是 TCP")
        case .noteMalformed: Texts("malformed frames", "个畸形帧")
        case .noteCut: Texts("frames cut by the capture's snap length", "帧被抓包长度截断")
        case .noteFragments: Texts("datagrams with missing fragments", "个数据报缺分片")
        case .noteRepeated: Texts("repeated TCP segments, used once", "个重传的 TCP 段，只用一次")
        case .noteDisordered: Texts("TCP segments out of order, put in order", "个乱序的 TCP 段，已排好")
        case .noteLines: Texts("lines that hold no frame", "行没有帧")
        case .noteMissing: Texts("bytes of streams that the capture does not hold", "字节的流数据不在抓包中")
        case .captureDone: Texts("{0}: {1}, {2}", "{0}：{1}，{2}")
        case .captureLost:
            Texts(
                "sluice: capture: {0} came faster than they were fetched and are not "
                    + "in the file: filter with --source or --device",
                "sluice：capture：{0}来得比取得快，不在文件中：请用 --source 或 --device 过滤")
        case .latencyPart: Texts("{0} {1} ms", "{0} {1} 毫秒")
        case .loadSent: Texts("frames sent", "发送帧")
        case .loadRate: Texts("{0} a second", "每秒 {0}")
        case .loadDatagrams: Texts("datagrams sent", "发送数据报")
        case .loadRepetitions: Texts("with repetitions", "含补发")
        case .loadReceived: Texts("frames received", "收到帧")
        case .loadByGateway: Texts("by the gateway", "网关收到")
        case .loadKernelDrops: Texts("kernel drops", "内核丢弃")
        case .loadAsking: Texts("frames asking", "要求应答的帧")
        case .loadAnswered: Texts("frames answered", "已应答的帧")
        case .loadRepeated: Texts("frames repeated", "补发的帧")
        case .loadDecoded: Texts("readings decoded", "解码读数")
        case .loadInStore: Texts("readings in store", "存储端读数")
        case .loadTwice: Texts("twice in store", "存储端重复")
        case .loadMissing: Texts("answered, not in store", "已应答但不在存储端")
        case .loadProcessor: Texts("gateway CPU", "网关处理器")
        case .loadSeconds: Texts("{0} s", "{0} 秒")
        case .loadPerFrame: Texts("{0} ns a frame", "每帧 {0} 纳秒")
        case .loadSink: Texts("bare sink", "裸接收")
        case .loadTimes: Texts("gateway {0} times that", "网关为其 {0} 倍")
        case .loadLossless: Texts("lossless rate", "无丢失速率")
        case .loadRatio: Texts("{0} of the bare sink's", "裸接收的 {0}")
        case .loadSenderBound: Texts("bound by the sender", "受发送端限制")
        case .loadSinkWords: Texts("poll and recvmmsg, same run", "poll 与 recvmmsg，同一次运行")
        case .loadPeak: Texts("gateway peak RSS", "网关内存峰值")
        case .loadUplink: Texts("uplink", "上行")
        case .loadPerReading: Texts("bytes a reading", "每读数字节")
        case .loadKills: Texts("kills", "强杀")
        case .loadKilled: Texts("gateway {0}, store {1}", "网关 {0}，存储端 {1}")
        case .loadUnaccounted: Texts("unaccounted", "未入账")
        case .loadProgress: Texts("{0} %, {1} frames sent", "{0} %，已发送 {1} 帧")
        case .loadWaiting: Texts("waiting for the store to acknowledge everything", "等待存储端确认全部")
        case .loadComparing: Texts("comparing the store with what was sent", "比较存储端与所发内容")
        case .wrongUnaccounted: Texts("{0} unaccounted in the ledger", "账本中 {0} 条未入账")
        case .wrongHeld: Texts("{0} readings still held by the gateway", "网关仍留存 {0} 条读数")
        case .wrongTwice: Texts("{0} readings more than once in the store", "{0} 条读数在存储端不止一次")
        case .wrongStrange:
            Texts(
                "{0} readings in the store that no device sent",
                "存储端 {0} 条读数没有设备发过")
        case .wrongMissing:
            Texts(
                "{0} answered frames whose readings are not in the store",
                "{0} 帧已应答而读数不在存储端")
        case .wrongAnsweredTwice:
            Texts(
                "{0} answered frames whose readings are in the store twice",
                "{0} 帧已应答而读数在存储端重复")
        case .wrongUnanswered: Texts("{0} frames never answered", "{0} 帧从未得到应答")
        case .wrongLost:
            Texts(
                "{0} datagrams neither received nor counted as dropped",
                "{0} 个数据报既未收到也未计为丢弃")
        case .wrongDrops:
            Texts(
                "{0} kernel drops more than datagrams were sent",
                "内核丢弃比发送的数据报多 {0}")
        case .loadNobody:
            Texts(
                "sluice: load: {0}: nobody listens there: of {1} {2} were refused: "
                    + "start the gateway or name another --to",
                "sluice：load：{0}：无人监听：{1}中 {2} 个被拒：请启动网关或换一个 --to")
        case .loadSkipped:
            Texts(
                "sluice: load: --netns is skipped: {0}",
                "sluice：load：--netns 跳过：{0}")
        case .loadWrong:
            Texts(
                "sluice: load: {0}: see the ledger above",
                "sluice：load：{0}：见上面的账本")
        default: preconditionFailure("\(self) has no text")
        }
    }
}
