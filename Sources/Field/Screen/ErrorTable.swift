// The sentences that errors are made of, in both languages. `ErrorWords` finds a part of an error
// here; a test holds the table against the sources that make errors. Values only.

extension ErrorWords {
    /// English and Chinese, with the same placeholders.
    package static let templates: [(english: String, chinese: String)] = [
        // What was tried.
        ("ask the daemon at {0}", "询问守护进程 {0}"),
        ("lock {0}", "锁定 {0}"),
        ("resolve {0}", "解析 {0}"),
        ("start {0}", "启动 {0}"),
        ("send", "发送"),
        ("connect", "连接"),
        ("open UDP socket", "打开 UDP 套接字"),
        ("open epoll", "打开 epoll"),
        ("watch socket", "监视套接字"),
        ("make a network namespace", "创建网络命名空间"),
        ("ports", "端口"),
        ("interrupted", "已中断"),
        ("standard input", "标准输入"),
        // Why it failed.
        ("nobody listens there", "无人监听"),
        ("no answer in {0} ms", "{0} 毫秒内没有应答"),
        ("the answer is cut", "应答不完整"),
        ("the answer is cut or is no HTTP", "应答不完整或不是 HTTP"),
        ("the answer is no HTTP", "应答不是 HTTP"),
        ("process {0} is using it", "进程 {0} 正在使用"),
        ("another process is using it", "另一进程正在使用"),
        ("does not answer", "没有应答"),
        ("does not answer at {0}", "在 {0} 没有应答"),
        ("the store does not answer", "存储端没有应答"),
        ("the store ended the conversation ({0})", "存储端结束了会话（{0}）"),
        ("it answers something else than was asked", "答非所问"),
        ("none is free on 127.0.0.1", "127.0.0.1 上没有空闲端口"),
        ("ended with status {0}", "已结束，状态 {0}"),
        ("both programs are being ended", "正在结束两个程序"),
        ("{0} frame were sent", "已发送 {0} 帧"),
        ("{0} frames were sent", "已发送 {0} 帧"),
        ("is larger than {0} bytes", "超过 {0} 字节"),
        ("is neither a folder nor HOST:PORT", "既不是目录也不是 HOST:PORT"),
        ("holds no store (there is no {0})", "没有存储端数据（缺少 {0}）"),
        ("answers something else", "答复不符"),
        ("cannot be written", "无法写入"),
        ("cannot be read", "无法读取"),
        ("answered {0}", "答复 {0}"),
        ("is no JSON", "不是 JSON"),
        ("the files hold no figures", "文件中没有数据"),
        (
            "there is no {0} (iproute2, nftables, util-linux)",
            "没有 {0}（iproute2、nftables、util-linux）"
        ),
        ("links cannot be made", "无法建立链路"),
        ("a namespace cannot be held", "无法保持命名空间"),
        ("none is loaded", "没有载入任何规约"),
        // What to do.
        ("start sluiced, or name its socket with --admin", "请启动 sluiced，或用 --admin 指定其套接字"),
        ("stop it first, or choose another directory", "请先停止它，或换一个目录"),
        ("add --captures DIR", "请加 --captures DIR"),
        ("see the gateway's log", "请看网关日志"),
        ("set TMPDIR to a folder you can write to", "请把 TMPDIR 设为可写目录"),
        ("end other programs", "请结束其他程序"),
        ("build all programs", "请构建全部程序"),
        ("run it again", "请再运行一次"),
        ("try again", "请再试一次"),
        ("fewer --connections, or raise `ulimit -n`", "请减少 --connections，或调大 `ulimit -n`"),
        ("raise `ulimit -n`", "请调大 `ulimit -n`"),
        ("name the store's data folder or its address", "请指定存储端的数据目录或地址"),
        ("name the data folder of sluice-store", "请指定 sluice-store 的数据目录"),
        ("is sluice-store running there?", "sluice-store 在那里运行吗？"),
        ("is that a sluice-store?", "对方是 sluice-store 吗？"),
        ("is this a sluiced?", "对方是 sluiced 吗？"),
        ("name another --out", "请换一个 --out"),
        ("free space", "请腾出空间"),
        ("see `{0} --help`", "请看 `{0} --help`"),
        ("name a result of `load --json`", "请指定 `load --json` 的结果"),
        ("name results of `load --json`", "请指定 `load --json` 的结果"),
        ("name a format file", "请指定规约文件"),
        ("name a folder that holds some", "请指定含有规约的目录"),
        // Spools, stores and the files they are kept in.
        ("spool", "暂存"),
        ("spool {0}", "暂存 {0}"),
        ("segment {0}", "段 {0}"),
        ("quarantine", "隔离区"),
        ("in use by process {0}", "进程 {0} 正在使用"),
        ("no space left", "没有剩余空间"),
        ("damaged", "损坏"),
        ("layout {0} is newer than this program", "布局 {0} 比本程序新"),
        ("its log cannot be read", "其预写日志无法读取"),
        ("its log has lost its end", "其预写日志缺失末尾"),
        ("what was stored last is not there", "最后写入的内容不在"),
        ("its log is damaged and cannot be mended now", "其预写日志已损坏且暂时无法修复"),
        ("is damaged and cannot be mended now", "已损坏且暂时无法修复"),
        ("it is tried again", "稍后重试"),
        ("what lies behind the damage is not there", "损坏处之后的内容不在"),
        ("{0} pages of its log are damaged", "其预写日志有 {0} 页损坏"),
        (
            "left out, and {0} transactions behind them read all the same",
            "已略过，其后 {0} 个事务照常读出"
        ),
        ("set aside as {0}, nothing in it can be read", "已另存为 {0}，其中没有可读内容"),
        ("set aside as {0}", "已另存为 {0}"),
        (
            "segment {0} damaged: {1} of its batches and parts copied, set aside as {2}",
            "段 {0} 损坏：复制了其中 {1} 个批和部分，已另存为 {2}"
        ),
        ("batch {0} damaged", "批 {0} 损坏"),
        ("{0} readings lost", "丢失 {0} 条读数"),
        ("going on in a new one", "改用新的继续"),
        ("removed, its room was needed", "已删除，需要其空间"),
        ("table {0} damaged", "表 {0} 损坏"),
        ("newest cut damaged", "最新的截面损坏"),
        (
            "went on from the ledger's own numbers of epoch {0}", "按账本第 {0} 期自身的数继续"
        ),
        (
            "went back to epoch {0}; readings after it are decoded again and may reach the store "
                + "twice", "退回第 {0} 期；其后的读数会重新解码，可能两次到达存储端"
        ),
        ("both cuts damaged", "两个截面都损坏"),
        ("went on from the ledger's own numbers", "按账本自身的数继续"),
        (
            "the whole retained journal is decoded again; readings may reach the store twice and the "
                + "ledger starts from what is held",
            "保留的日志全部重新解码；读数可能两次到达存储端，账本从留存内容开始"
        ),
        ("{0} batches were in files that are not there", "{0} 个批所在的文件不在"),
        ("its list is damaged", "其清单损坏"),
        ("all that it holds counts", "其中全部都计入"),
        ("its journal is damaged", "其日志损坏"),
        ("journal row {0} damaged", "日志第 {0} 行损坏"),
        ("{0} frames of intake {1} from position {2}", "接入 {1} 从位置 {2} 起 {0} 帧"),
        ("{0} readings were in rows that cannot be read", "{0} 条读数所在的行无法读取"),
        ("{0} readings count as not acknowledged again", "{0} 条读数重新计为未确认"),
        ("batch {0}", "批 {0}"),
        ("layout {0}, this program has {1}", "布局 {0}，本程序为 {1}"),
        ("no incarnation", "没有代号"),
        ("no quarantine of this layout", "不是这种布局的隔离区"),
        ("no spool segment", "不是暂存段"),
        ("no row was inserted", "没有插入行"),
        ("runs of sequences overlap", "序号区间重叠"),
        ("database disk image is malformed (SQLite {0})", "数据库文件损坏（SQLite {0}）"),
        ("file is not a database (SQLite {0})", "文件不是数据库（SQLite {0}）"),
        ("disk I/O error (SQLite {0})", "磁盘读写错误（SQLite {0}）"),
        ("database is locked (SQLite {0})", "数据库已被锁定（SQLite {0}）"),
        ("database or disk is full (SQLite {0})", "数据库或磁盘已满（SQLite {0}）"),
        ("out of memory (SQLite {0})", "内存不足（SQLite {0}）"),
        ("unable to open database file (SQLite {0})", "无法打开数据库文件（SQLite {0}）"),
        (
            "attempt to write a readonly database (SQLite {0})", "试图写入只读数据库（SQLite {0}）"
        ),
        ("make it a directory that this user may write", "请改为该用户可写的目录"),
        ("check the device and its mount options", "请检查设备及其挂载选项"),
        ("free the device or raise spool.maximumBytes", "请腾出设备空间或调大 spool.maximumBytes"),
        (
            "restart to set the file aside, see sluice spool check",
            "请重启以将该文件另存，见 sluice spool check"
        ),
        ("install that version again", "请重新安装该版本"),
        ("stop it, or use another directory", "请先停止它，或换一个目录"),
        (
            "put a copy of {0} back, or move it away to begin anew",
            "请恢复 {0} 的副本，或移走它重新开始"
        ),
        (
            "name the data folder of sluice-store of this version",
            "请指定该版本 sluice-store 的数据目录"
        ),
        // What a peer says that is no store.
        ("protocol version {0}, spoken here", "协议版本 {0}，此处支持"),
        ("frame type {0} is not expected here", "此处不应有类型 {0} 的帧"),
        ("frame type {0} announces {1} bytes", "类型 {0} 的帧声明 {1} 字节"),
        ("frame header with bits that must be zero", "帧头中应为零的位不为零"),
        ("frame with a wrong CRC-32", "帧的 CRC-32 错误"),
        ("frame type {0} is malformed at byte {1}", "类型 {0} 的帧在第 {1} 字节处畸形"),
        // Captures.
        ("offset {0}", "偏移 {0}"),
        ("is empty", "是空的"),
        ("is neither pcap nor pcapng", "既不是 pcap 也不是 pcapng"),
        ("{0} frame before it read", "此前读出 {0} 帧"),
        ("{0} frames before it read", "此前读出 {0} 帧"),
        ("the file ends inside a structure", "文件在一个结构中间结束"),
        ("a record claims {0} bytes", "一条记录声称 {0} 字节"),
        ("the last record is cut", "最后一条记录不完整"),
        ("a section has no byte order mark", "一节没有字节序标记"),
        ("a block claims {0} bytes", "一块声称 {0} 字节"),
        ("the last block is cut", "最后一块不完整"),
        ("a block's two lengths differ", "一块的两个长度不一致"),
        ("an interface block is too short", "接口块过短"),
        ("an option is longer than its block", "选项比所在的块长"),
        ("a packet block is too short", "数据包块过短"),
        ("a packet is longer than its block", "数据包比所在的块长"),
        ("a packet of an unknown interface", "数据包的接口未知"),
        ("a simple packet without an interface", "简单数据包没有接口"),
        ("a line is longer than {0} bytes", "一行超过 {0} 字节"),
        // Advice of HostError.
        (
            "another process has it: see `ss -lnptu`, or choose another port",
            "被另一进程占用：请看 `ss -lnptu`，或换一个端口"
        ),
        (
            "give this user the right; a port below 1024 needs it too",
            "请给该用户权限；1024 以下的端口也需要权限"
        ),
        ("its folder is missing: make it, or choose another path", "目录不存在：请创建，或换一个路径"),
        ("a part of that path is a file: choose another path", "路径中有一段是文件：请换一个路径"),
        ("choose a shorter path", "请用更短的路径"),
        ("choose a folder on a disk that takes data", "请选择可写磁盘上的目录"),
        ("this machine has no such address: see `ip address`", "本机没有这个地址：请看 `ip address`"),
        ("raise LimitNOFILE in the unit", "请在服务单元中调大 LimitNOFILE"),
        (
            "a file that is no socket has this name: remove it or choose another path",
            "同名文件不是套接字：请删除，或换一个路径"
        ),
    ]
}
