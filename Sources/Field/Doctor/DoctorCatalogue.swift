// What `sluice doctor` says in both languages, by the glossary of `Catalogue`. `do…` phrases say what to
// do.

package enum DoctorPhrase: String, CaseIterable, Sendable {
    case levelOk, levelWarning, levelProblem, levelUnknown
    case areaConfiguration, areaDaemon, areaVersions, areaClock, areaName, areaStore, areaDisk
    case areaSpool, areaRights, areaPorts, areaBuffers, areaLedger
    case summary, bundleWritten, bundleFailed
    // Configuration.
    case configurationMissing, doWriteConfiguration, configurationUnreadable, doRunAsRoot
    case configurationWrong, doCheck, configurationSound, configurationNoSources, doAddSources
    case formatsMissing, doNameFormats
    // Daemon.
    case daemonAnswers, daemonStopped, doStart, daemonForbidden, daemonHangs, doRestartHung
    case daemonOdd, doNameSocket, daemonUnhealthy, doSeeStatus, unitState, doSeeUnit, unitRestarts
    // Versions.
    case versionsAgree, versionsDiffer, doRestart, toolVersion, formatsLoaded, formatsRefused,
        formatsUnread
    case doMendFormats, kernel
    // Clock.
    case clockSet, clockUnset, doSetClock, clockKept, clockFree, doSynchronise, clockUnknown
    case clockAgrees, clockDrifts, doCompareClocks
    // Name and store.
    case nameNumeric, nameFound, nameMissing, nameSilent, doMendNames, storeNone, doNameStore
    case storeReached, storeRefused, storeSilent, doMendStore, storeUntried, sessionOpen
    case sessionClosed, doSeeUplink, doCompareUplink
    // Disk and spool.
    case folderMissing, doMakeFolder, folderUnseen, diskReadOnly, doRemount, diskRoom, diskTight
    case diskFull, doMakeRoom, inodesGone, doFreeInodes, flashWrites, flashHeavy, doSpareFlash
    case spoolShare, spoolNearFull, doReachStore, spoolEvicted, spoolTrouble, doMendDisk
    // Rights.
    case rightsKept, folderOpen, fileOpen, doCloseFile, folderForeign, doOwn, keysMissing, doPutKeys
    case keysOpen, configurationOpen
    // Ports.
    case portBound, portFree, portTaken, doFreePort, portUnbound, lineMissing, doPlug, lineClosed
    // Buffers.
    case bufferEnough, bufferCapped, doRaiseBuffer, dropsNone, dropsSome, doWidenBuffer
    // Ledger.
    case ledgerBalances, ledgerWrong, doReportBug, ledgerUnasked, doCheckSpool
    case notInTime, doAskAgain
}

extension DoctorPhrase {
    package var texts: Texts {
        general ?? daemon ?? outside ?? disk ?? places
    }

    private var general: Texts? {
        switch self {
        case .levelOk: Texts("ok", "正常")
        case .levelWarning: Texts("warning", "警告")
        case .levelProblem: Texts("problem", "故障")
        case .levelUnknown: Texts("unknown", "未知")
        case .areaConfiguration: Texts("config", "配置")
        case .areaDaemon: Texts("daemon", "守护进程")
        case .areaVersions: Texts("versions", "版本")
        case .areaClock: Texts("clock", "时钟")
        case .areaName: Texts("name", "域名")
        case .areaStore: Texts("store", "存储端")
        case .areaDisk: Texts("disk", "磁盘")
        case .areaSpool: Texts("spool", "暂存")
        case .areaRights: Texts("rights", "权限")
        case .areaPorts: Texts("ports", "端口")
        case .areaBuffers: Texts("buffers", "缓冲区")
        case .areaLedger: Texts("ledger", "账本")
        case .summary: Texts("problems {0}, warnings {1}, unknown {2}", "故障 {0}，警告 {1}，未知 {2}")
        case .bundleWritten:
            Texts(
                "{0}: {1} bytes, without keys, secrets and payloads: look into it before you send it",
                "{0}：{1} 字节，不含密钥、口令和报文：发送前请先查看")
        case .bundleFailed:
            Texts(
                "sluice: doctor: {0}: {1}: choose another --bundle",
                "sluice：doctor：{0}：{1}：请换一个 --bundle")
        case .notInTime: Texts("was not found out in {0} s", "{0} 秒内未查明")
        case .doAskAgain: Texts("ask again; see whether the disk hangs", "请再试一次，并查看磁盘是否卡住")
        default: nil
        }
    }

    private var daemon: Texts? {
        switch self {
        case .configurationMissing: Texts("there is no file {0}", "没有文件 {0}")
        case .doWriteConfiguration:
            Texts(
                "sluiced --defaults > {0}, or name yours with --config",
                "sluiced --defaults > {0}，或用 --config 指定")
        case .configurationUnreadable: Texts("{0} may not be read by you", "你无权读取 {0}")
        case .doRunAsRoot: Texts("run this as root, or as {0}", "请以 root 或 {0} 身份运行")
        case .configurationWrong: Texts("{0} mistakes, the first: {1}", "{0} 处错误，首个：{1}")
        case .doCheck:
            Texts("sluiced --config {0} --check names all", "sluiced --config {0} --check 列出全部")
        case .configurationSound: Texts("{0} is sound: sources {1}", "{0} 正确：来源 {1}")
        case .configurationNoSources: Texts("{0} names no sources", "{0} 没有来源")
        case .doAddSources:
            Texts("add one: sluiced --defaults shows how", "请添加：sluiced --defaults 有示例")
        case .formatsMissing: Texts("there is no folder of formats", "没有规约目录")
        case .doNameFormats: Texts("write formats: \"DIR\" in {0}", "请在 {0} 中写 formats: \"DIR\"")
        case .daemonAnswers: Texts("{0} answers, up {1}", "{0} 有应答，已运行 {1}")
        case .daemonStopped: Texts("nobody answers at {0}: it does not run", "{0} 无应答：守护进程未运行")
        case .doStart:
            Texts(
                "systemctl start sluiced; journalctl -u sluiced says why it ended",
                "systemctl start sluiced；退出原因见 journalctl -u sluiced")
        case .daemonForbidden: Texts("you may not ask at {0}", "你无权访问 {0}")
        case .daemonHangs: Texts("{0} takes connections but gives no answer", "{0} 接受连接但没有应答")
        case .doRestartHung:
            Texts(
                "journalctl -u sluiced, then systemctl restart sluiced",
                "先看 journalctl -u sluiced，再 systemctl restart sluiced")
        case .daemonOdd: Texts("{0}: {1}", "{0}：{1}（异常）")
        case .doNameSocket: Texts("name sluiced's socket with --admin", "用 --admin 指定 sluiced 的套接字")
        case .daemonUnhealthy: Texts("says of itself: {0}", "自述：{0}")
        case .doSeeStatus: Texts("sluice status shows where", "sluice status 可见所在")
        case .unitState: Texts("unit sluiced: {0}", "单元 sluiced：{0}")
        case .doSeeUnit: Texts("systemctl status sluiced", "请看 systemctl status sluiced")
        case .unitRestarts: Texts("systemd restarted it {0} times", "systemd 已重启它 {0} 次")
        case .versionsAgree: Texts("tool and daemon {0}", "工具与守护进程均为 {0}")
        case .versionsDiffer: Texts("tool {0}, daemon {1}", "工具 {0}，守护进程 {1}")
        case .doRestart: Texts("systemctl restart sluiced", "请 systemctl restart sluiced")
        case .toolVersion: Texts("tool {0}", "工具 {0}")
        case .formatsLoaded: Texts("formats {0} in {1}", "{1} 中有规约 {0} 个")
        case .formatsUnread: Texts("formats of {0} were not read in time", "{0} 中的规约未能及时读完")
        case .formatsRefused: Texts("formats: {0}", "规约：{0}")
        case .doMendFormats:
            Texts("mend the file, then systemctl reload sluiced", "改正文件后 systemctl reload sluiced")
        case .kernel: Texts("kernel {0}", "内核 {0}")
        case .ledgerBalances:
            Texts(
                "balances: frames received {0}, readings held {1}, unaccounted 0",
                "平衡：已收帧 {0}，留存读数 {1}，未入账 0")
        case .ledgerWrong: Texts("unaccounted {0}", "未入账 {0}")
        case .doReportBug:
            Texts("this is a bug: report it with --bundle", "这是程序错误：请用 --bundle 打包上报")
        case .ledgerUnasked: Texts("only the running daemon can say", "只有运行中的守护进程才知道")
        case .doCheckSpool:
            Texts("sluice spool check {0} looks into the spool", "用 sluice spool check {0} 检查暂存")
        default: nil
        }
    }

    private var outside: Texts? {
        switch self {
        case .clockSet: Texts("stands at {0} UTC", "现为 {0} UTC")
        case .clockUnset: Texts("stands at {0} UTC: it was never set", "现为 {0} UTC：从未设置")
        case .doSetClock:
            Texts(
                "set it: timedatectl set-ntp true; until then readings say that it is unset",
                "请校时：timedatectl set-ntp true；在此之前读数会标明时钟未设置")
        case .clockKept:
            Texts("follows a time server, at most {0} ms off", "已与时间服务器同步，误差不超过 {0} 毫秒")
        case .clockFree: Texts("follows no time server", "未与时间服务器同步")
        case .doSynchronise:
            Texts("timedatectl set-ntp true, or run chrony", "timedatectl set-ntp true，或运行 chrony")
        case .clockUnknown: Texts("the kernel may not be asked who keeps it", "无权询问内核时钟由谁校准")
        case .clockAgrees: Texts("{0} s from the store's", "与存储端相差 {0} 秒")
        case .clockDrifts: Texts("{0} s from the store's", "与存储端相差 {0} 秒，过大")
        case .doCompareClocks:
            Texts("see which of the two follows a time server", "查看两者中哪个与时间服务器同步")
        case .nameNumeric: Texts("{0} is an address, there is nothing to look up", "{0} 是地址，无需解析")
        case .nameFound: Texts("{0} is {1}", "{0} 解析为 {1}")
        case .nameMissing: Texts("{0} has no address", "{0} 没有地址")
        case .nameSilent: Texts("no answer about {0} in {1} s", "{1} 秒内没有得到 {0} 的解析")
        case .doMendNames:
            Texts("see /etc/resolv.conf, or write the address", "查看 /etc/resolv.conf，或直接写地址")
        case .storeNone: Texts("none is configured: batches stay in the spool", "未配置存储端：批留在暂存中")
        case .doNameStore:
            Texts("write store: { address: \"HOST:PORT\" }", "请写 store: { address: \"HOST:PORT\" }")
        case .storeReached: Texts("{0} takes connections, in {1} ms", "{0} 可连接，用时 {1} 毫秒")
        case .storeRefused: Texts("{0}: {1}", "{0} 连接失败：{1}")
        case .storeSilent: Texts("{0}: no answer in {1} s", "{0}：{1} 秒内没有应答")
        case .doMendStore:
            Texts(
                "start the store; see the route and the firewall; nothing is lost meanwhile",
                "请启动存储端，查看路由和防火墙；期间不会丢失数据")
        case .storeUntried: Texts("{0} was not tried: it has no address", "未尝试 {0}：没有地址")
        case .sessionOpen: Texts("the daemon's session is open since {0}", "守护进程的会话已建立 {0}")
        case .sessionClosed: Texts("the daemon is {0} for {1}: {2}", "守护进程{0}，已 {1}：{2}")
        case .doSeeUplink: Texts("sluice status shows what waits", "sluice status 显示待补发的数据")
        case .doCompareUplink:
            Texts(
                "this tool reaches it: see IPAddressAllow= of the unit and the gateway's name",
                "本工具能连上：请看单元的 IPAddressAllow= 和网关名称")
        default: nil
        }
    }

    private var disk: Texts? {
        switch self {
        case .folderMissing: Texts("there is no folder {0}", "没有目录 {0}")
        case .doMakeFolder: Texts("start the unit, which makes it", "请启动服务单元，由它创建")
        case .folderUnseen: Texts("you may not look at {0}", "你无权查看 {0}")
        case .diskReadOnly: Texts("{0} is mounted read-only", "{0} 以只读方式挂载")
        case .doRemount:
            Texts(
                "see dmesg for errors, then mount -o remount,rw",
                "先看 dmesg 中的错误，再 mount -o remount,rw")
        case .diskRoom: Texts("{0} has {1} of {2} free", "{0} 剩余 {1}，共 {2}")
        case .diskTight:
            Texts(
                "{0} has {1} free; the spool has {2} and may take {3}",
                "{0} 剩余 {1}；暂存已用 {2}，上限 {3}")
        case .diskFull: Texts("{0} has {1} free", "{0} 仅剩 {1}")
        case .doMakeRoom:
            Texts("make room, or lower spool.maximumBytes", "请腾出空间，或调小 spool.maximumBytes")
        case .inodesGone: Texts("{0} has {1} inodes left", "{0} 仅剩 {1} 个 inode")
        case .doFreeInodes: Texts("remove files: df -i shows where", "请删除文件：df -i 可见所在")
        case .flashWrites:
            Texts("{0} took {1} a day since the start of the machine", "{0} 开机以来每天写入 {1}")
        case .flashHeavy:
            Texts(
                "{0} took {1} a day since the start of the machine, more than its size",
                "{0} 开机以来每天写入 {1}，超过其容量")
        case .doSpareFlash:
            Texts("find who writes: iotop, pidstat -d", "查找写入者：iotop、pidstat -d")
        case .spoolShare: Texts("{0} of {1} used", "已用 {0}，上限 {1}")
        case .spoolNearFull:
            Texts("{0} of {1} used: the oldest is evicted next", "已用 {0}，上限 {1}：即将淘汰最旧的数据")
        case .doReachStore:
            Texts(
                "get the store to take batches, or raise spool.maximumBytes",
                "让存储端接收批，或调大 spool.maximumBytes")
        case .spoolEvicted: Texts("readings evicted: {0}", "已淘汰读数：{0}")
        case .spoolTrouble: Texts("in trouble: {0}", "出错：{0}")
        case .doMendDisk: Texts("see dmesg and the room on the disk", "查看 dmesg 和磁盘空间")
        default: nil
        }
    }

    private var places: Texts {
        switch self {
        case .rightsKept: Texts("{0}: {1}, mode {2}", "{0}：属主 {1}，权限 {2}")
        case .folderOpen: Texts("{0} has mode {1}: others may look into it", "{0} 权限为 {1}：他人可查看")
        case .fileOpen: Texts("{0} has mode {1}: others may use it", "{0} 权限为 {1}：他人可使用")
        case .doCloseFile: Texts("chmod {0} {1}", "请执行 chmod {0} {1}")
        case .folderForeign: Texts("{0} belongs to {1}, the daemon is {2}", "{0} 属于 {1}，守护进程是 {2}")
        case .doOwn: Texts("chown -R {0}: {1}", "请执行 chown -R {0}: {1}")
        case .keysMissing: Texts("there is no key file {0}", "没有密钥文件 {0}")
        case .doPutKeys: Texts("put it there, mode 0600", "请放入该文件，权限 0600")
        case .keysOpen: Texts("{0} has mode {1}: the daemon refuses it", "{0} 权限为 {1}：守护进程拒绝使用")
        case .configurationOpen:
            Texts("{0} has mode {1}: anyone may change it", "{0} 权限为 {1}：任何人可修改")
        case .portBound: Texts("{0}: {1} is bound", "{0}：{1} 已绑定")
        case .portFree: Texts("{0}: {1} is free", "{0}：{1} 空闲")
        case .portTaken: Texts("{0}: {1} belongs to {2}", "{0}：{1} 被 {2} 占用")
        case .doFreePort: Texts("end it, or choose another port", "请结束它，或换一个端口")
        case .portUnbound: Texts("{0}: {1} is not bound by the daemon", "{0}：守护进程未绑定 {1}")
        case .lineMissing: Texts("{0}: there is no {1}", "{0}：没有 {1}")
        case .doPlug:
            Texts("see the cable, dmesg and the name of the device file", "查看线缆、dmesg 和设备文件名")
        case .lineClosed: Texts("{0}: {1} is not open: {2}", "{0}：{1} 未打开：{2}")
        case .bufferEnough: Texts("{0}: receive buffer {1}", "{0}：接收缓冲区 {1}")
        case .bufferCapped: Texts("{0}: the kernel gives {1} of {2}", "{0}：要求 {2}，内核只给 {1}")
        case .doRaiseBuffer:
            Texts(
                "sysctl -w net.core.rmem_max={0}, then restart",
                "执行 sysctl -w net.core.rmem_max={0} 后重启")
        case .dropsNone: Texts("kernel drops none", "内核丢弃 0")
        case .dropsSome: Texts("kernel drops {0} of {1} datagrams", "{1} 个数据报中内核丢弃 {0}")
        case .doWidenBuffer:
            Texts(
                "raise receiveBuffer of the source and rmem_max", "调大来源的 receiveBuffer 和 rmem_max")
        default: preconditionFailure("\(self) has no text")
        }
    }
}
