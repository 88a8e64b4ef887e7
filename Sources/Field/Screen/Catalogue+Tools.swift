// The catalogue goes on: the demonstration, spools and quarantines, and what a change of the
// formats changes.

extension Phrase {
    /// Nil for phrases of `Catalogue`.
    var moreTexts: Texts? { demoTexts ?? spoolTexts ?? diffTexts }

    private var demoTexts: Texts? {
        switch self {
        case .demoStore: Texts("store    listens at {0}, data in {1}", "存储端  监听 {0}，数据在 {1}")
        case .demoGateway:
            Texts(
                "gateway  takes UDP and TCP on loopback, state in {0}",
                "网关    在本机回环接收 UDP 和 TCP，状态在 {0}")
        case .demoReplayed: Texts("replayed {0}: {1}: {2}", "已回放 {0}：{1}：{2}")
        case .demoWater: Texts("water meters over NB-IoT (UDP)", "NB-IoT 水表（UDP）")
        case .demoEnvironment:
            Texts("temperature and humidity sensors over NB-IoT (UDP)", "NB-IoT 温湿度传感器（UDP）")
        case .demoElectricityUDP:
            Texts("electricity meters (DL/T 645 over UDP)", "电表（UDP 上的 DL/T 645）")
        case .demoElectricityTCP:
            Texts("electricity meters behind a concentrator (TCP)", "集中器下的电表（TCP）")
        case .demoInStore:
            Texts("In the store: {0}, the last of each stream:", "存储端共 {0}，各测点最后一条：")
        case .demoLedger: Texts("The gateway's ledger:", "网关账本：")
        case .demoPage: Texts("status page: {0}", "状态页：{0}")
        case .demoPageGone:
            Texts(
                "status page: {0} (gone now; --keep leaves it running)",
                "状态页：{0}（已关闭；--keep 可保持运行）")
        case .demoSockets: Texts("admin socket: {0}, store: {1}", "管理套接字：{0}，存储端：{1}")
        case .demoSource: Texts("source {0}: {1}", "来源 {0}：{1}")
        case .demoRunning: Texts("both run until Ctrl-C", "两者运行至 Ctrl-C")
        case .nounReading: Texts("reading", "条读数")
        case .headReadings: Texts("readings", "读数")
        case .loadStep: Texts("{0}: {1} frames a second", "{0}：每秒 {1} 帧")
        default: nil
        }
    }

    private var spoolTexts: Texts? {
        switch self {
        case .headNumber: Texts("number", "编号")
        case .headKind: Texts("kind", "种类")
        case .headReason: Texts("reason", "原因")
        case .entryNoReading:
            Texts("sluice: entry {0}: its bytes are no reading", "sluice：条目 {0}：其字节不是读数")
        case .entryArrived: Texts("arrived at {0} as {1}:", "到达 {0}，按 {1}：")
        case .entryNothing: Texts("sluice: entry {0}: nothing to decode", "sluice：条目 {0}：没有可解码的内容")
        case .entryReading:
            Texts(
                "stream {0} observed {1} received {2} value {3}",
                "测点 {0} 观测于 {1} 收到于 {2} 数值 {3}")
        case .entryNoBatch: Texts("sluice: no batch: {0}", "sluice：不是批：{0}")
        case .spoolCheckWhere:
            Texts(
                "sluice: spool check: which folder?: name a stopped daemon's: a running one "
                    + "checks what it reads: sluice spool status",
                "sluice：spool check：哪个目录？：请指定已停止的守护进程的目录：运行中的会自行检查所读内容：sluice "
                    + "spool status")
        case .spoolRepairWhere:
            Texts(
                "sluice: spool repair: which folder?: name it: the daemon mends its own",
                "sluice：spool repair：哪个目录？：请指定：守护进程会自行修复自己的目录")
        case .spoolSound: Texts("sound: everything can be read", "完好：全部可读")
        case .spoolDamaged:
            Texts(
                "damaged: the next start, or sluice spool repair, keeps what can be read",
                "损坏：下次启动或 sluice spool repair 会保留可读部分")
        case .spoolWhole: Texts("nothing to mend", "无需修复")
        case .spoolNoEntry:
            Texts(
                "sluice: spool: no entry {0}: see sluice spool list",
                "sluice：暂存：没有条目 {0}：请看 sluice spool list")
        case .spoolNone:
            Texts(
                "sluice: spool {0}: holds no spool: name the folder of `spool.directory`",
                "sluice：暂存 {0}：没有暂存：请指定 `spool.directory` 的目录")
        case .spoolForbidden:
            Texts(
                "sluice: spool {0}: this user may not read it: use sudo, or run it as {1}",
                "sluice：暂存 {0}：当前用户无权读取：请用 sudo，或以 {1} 身份运行")
        case .spoolStopped:
            Texts(
                "sluice: spool: nobody listens at {0}: looking into the spool in {1}",
                "sluice：暂存：{0} 无人监听：改看 {1} 中的暂存")
        case .spoolNameFolder:
            Texts(
                "sluice: spool {0}: is the daemon stopped?: name the folder of its spool: sluice "
                    + "spool {0} DIR",
                "sluice：暂存 {0}：守护进程停止了吗？：请指定其暂存目录：sluice spool {0} DIR")
        default: nil
        }
    }

    private var diffTexts: Texts? {
        switch self {
        case .headChange: Texts("change", "变化")
        case .headOld: Texts("old", "旧")
        case .headNew: Texts("new", "新")
        case .changeChanged: Texts("changed", "改变")
        case .changeAdded: Texts("added", "新增")
        case .changeRemoved: Texts("removed", "消失")
        case .changeAccepted: Texts("accepted", "接受")
        case .changeRefused: Texts("refused", "拒收")
        case .nounDifference: Texts("difference", "处差异")
        case .diffSummary: Texts("{0}, {1} compared, {2}", "比较 {0}、{1}，{2}")
        case .diffDevice: Texts("device {0}", "设备 {0}")
        case .noCapture:
            Texts(
                "sluice: {0}: is no capture: neither pcap nor pcapng nor a .slcap of `sluice capture`, "
                    + "and none of its lines is a frame in hex: name one of these, or write lines "
                    + "such as: 10:00:00.250 RX 68 16",
                "sluice：{0}：不是抓包文件：既不是 pcap、pcapng，也不是 `sluice capture` 的 .slcap，"
                    + "也没有一行是十六进制帧：请指定其中之一，或写成这样的行：10:00:00.250 RX 68 16")
        case .autoNone: Texts("no format accepts the frame; nearest:", "没有规约接受该帧；最接近的：")
        case .autoAccepted: Texts("accepted by {0}", "接受者：{0}")
        case .autoRefusal: Texts("  {0}: {1}: {2}", "  {0}：{1}：{2}")
        case .autoRefusalAt: Texts("  {0}: {1} at offset {2}: {3}", "  {0}：{1}，偏移 {2}：{3}")
        default: nil
        }
    }
}
