// The hash of tables that are looked up once a frame.

/// Folds two words into one by a 128-bit product (Wang Yi, wyhash); every bit of both reaches every bit.
/// Seeded with a number that differs per process, so that nobody outside knows which keys collide.
@inlinable @inline(__always)
public func foldedHash(_ a: UInt64, _ b: UInt64, seed: UInt64) -> UInt64 {
    let product = (a ^ seed ^ 0xA076_1D64_78BD_642F)
        .multipliedFullWidth(by: b ^ seed.byteSwapped ^ 0xE703_7ED1_A0B4_28DB)
    return product.high ^ product.low
}
