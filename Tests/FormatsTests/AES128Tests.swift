// Proves the cipher by the published vectors: FIPS 197 appendices B and C.1, SP 800-38A sections F.2
// and F.5, SP 800-38B appendix D.1.

import Model
import Testing

@testable import Formats

@Suite("AES-128")
struct AES128Tests {
    private static func block(_ hex: String) -> Block128 {
        var block = Block128()
        for (i, byte) in (HexText.bytes(hex) ?? []).prefix(16).enumerated() { block[i] = byte }
        return block
    }

    /// The four blocks of plain text that SP 800-38A and 38B share.
    private static let plain = [
        "6bc1bee22e409f96e93d7e117393172a", "ae2d8a571e03ac9c9eb76fac45af8e51",
        "30c81c46a35ce411e5fbc1191a0a52ef", "f69f2445df4f9b17ad2b417be66c3710",
    ]
    private static let key = "2b7e151628aed2a6abf7158809cf4f3c"

    @Test(
        "enciphers and deciphers the examples of FIPS 197",
        arguments: [
            (
                "2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734",
                "3925841d02dc09fbdc118597196a0b32"
            ),
            (
                "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff",
                "69c4e0d86a7b0430d8cdb78070b4c55a"
            ),
        ])
    func fips197(key: String, plain: String, cipher: String) {
        let aes = AES128(key: Self.block(key))
        #expect(aes.encrypt(Self.block(plain)) == Self.block(cipher))
        #expect(aes.decrypt(Self.block(cipher)) == Self.block(plain))
    }

    @Test("deciphers CBC as SP 800-38A F.2.2 does")
    func cbc() {
        let aes = AES128(key: Self.block(Self.key))
        let cipher = [
            "7649abac8119b246cee98e9b12e9197d", "5086cb9b507219ee95db113a917678b2",
            "73bed6b8e3c1743b7116e69e22229516", "3ff1caa1681fac09120eca307586e1a7",
        ].map(Self.block)
        var before = Self.block("000102030405060708090a0b0c0d0e0f")
        for (i, block) in cipher.enumerated() {
            #expect(aes.plain(block, after: before) == Self.block(Self.plain[i]))
            #expect(aes.encrypt(Self.block(Self.plain[i]) ^ before) == block)
            before = block
        }
    }

    @Test("makes the key stream of SP 800-38A F.5.1")
    func ctr() {
        let aes = AES128(key: Self.block(Self.key))
        let cipher = [
            "874d6191b620e3261bef6864990db6ce", "9806f66b7970fdff8617187bb9fffdff",
            "5ae4df3edbd5d35e5b4f09020db03eab", "1e031dda2fbe03d1792170a0f3009cee",
        ]
        var counter = Self.block("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
        for i in 0..<4 {
            #expect(aes.stream(counter) ^ Self.block(Self.plain[i]) == Self.block(cipher[i]))
            counter.low &+= 1
        }
    }

    @Test(
        "makes the CMACs of SP 800-38B D.1",
        arguments: [
            (0, "bb1d6929e95937287fa37d129b756746"), (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"), (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ])
    func cmac(count: Int, expected: String) {
        let text = Self.plain.flatMap { HexText.bytes($0) ?? [] }
        let aes = AES128(key: Self.block(Self.key))
        #expect(aes.cmac(count) { text[$0] } == Self.block(expected))
    }

    @Test("deciphering undoes enciphering for any key and block")
    func inverse() {
        var random = SplitMix64(seed: 20_261_121)
        for _ in 0..<200 {
            let key = Block128(high: random.next(), low: random.next())
            let block = Block128(high: random.next(), low: random.next())
            let aes = AES128(key: key)
            #expect(aes.decrypt(aes.encrypt(block)) == block, "key \(key), block \(block)")
        }
    }
}
