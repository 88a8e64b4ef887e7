#!/usr/bin/env python3
"""Reads a batch by protocols/batch.md alone, written without the Swift decoder, and prints its readings.

    batch_decode.py BATCH > lines of: stream kind exponent bits quality observedAt receivedAt
"""
import struct
import sys
import zlib

MASK = (1 << 64) - 1
UNITS = [1, 10, 100, 1000, 60_000, 3_600_000]


def signed(v):
    v &= MASK
    return v - (1 << 64) if v >> 63 else v


class Section:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        part = self.data[self.at : self.at + n]
        assert len(part) == n
        self.at += n
        return part

    def u8(self):
        return self.take(1)[0]

    def varint(self):
        v = shift = 0
        while True:
            b = self.u8()
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                return v

    def zigzag(self):
        z = self.varint()
        return (z >> 1) ^ -(z & 1)


def sections(s):
    out, joined = [], []
    while len(out) + len(joined) < 13:
        word = s.varint()
        joined.append(word >> 2)
        if word & 3 == 2:
            continue
        size = sum(joined)
        data = s.take(size) if word & 3 == 0 else zlib.decompress(s.take(s.varint()), -15)
        assert len(data) == size
        for n in joined:
            out.append(Section(data[:n]))
            data = data[n:]
        joined = []
    return out


def column(form, first, n, bytes_, high, low, escapes):
    predictor, w, group = form & 3, form >> 2 & 15, form >> 6
    count = n if predictor == 0 else n - 1
    if w == 0:
        residuals = [0] * count
    else:
        top = (bytes_[group] if w == 1 else high).take(count)
        planes = [low.take(count) for _ in range(w - 1)] + [top]
        residuals = []
        for i in range(count):
            z = sum(p[i] << (8 * k) for k, p in enumerate(planes))
            if z == (1 << 8 * w) - 1:
                z += escapes.varint()
            residuals.append((z >> 1) ^ -(z & 1))
    x = [] if predictor == 0 else [first]
    for r in residuals:
        a = x[-1] if x else first
        b = x[-2] if len(x) > 1 else a
        expected = [first, a, a + signed(a - b), b + (signed(a - b) >> 1)][predictor]
        x.append(signed(expected + r))
    return x


def value_bits(form, m):
    code, e = form
    if code == 0:
        return m & MASK
    d = float(m) / float(10**e) if e >= 0 else float(m) * float(10**-e)
    if code == 2:
        d = struct.unpack("<f", struct.pack("<f", d))[0]
    return struct.unpack("<Q", struct.pack("<d", d))[0]


def decode(batch):
    assert batch[:5] == b"\x01SLB\x00"
    assert zlib.crc32(batch[:-4]) == struct.unpack("<I", batch[-4:])[0]
    s = Section(batch[6:-4])
    count, _revision, start, _width = s.varint(), s.varint(), s.zigzag(), s.varint()
    s.zigzag(), s.varint()
    all_ = sections(s)
    assert s.at == len(s.data)
    head, firsts, odd, escapes, t_bytes, t_high, t_low = all_[:7]
    v_bytes, v_high, v_low = all_[7:11], all_[11], all_[12]
    n_streams, n_schedules, n_clocks = head.varint(), head.varint(), head.varint()
    shapes = []
    for _ in range(head.varint()):
        kind, exponent = struct.unpack("<Bb", head.take(2))
        shapes.append((kind & 7, kind >> 3 & 1, exponent, head.varint()))
    forms = [struct.unpack("<BbB", head.take(3)) for _ in range(head.varint())]

    rows = [head.varint() for _ in range(n_clocks)]
    kinds = [head.u8() for _ in range(n_clocks)]
    steps = [head.u8() if n > 1 else 0 for n in rows]
    lags = [head.u8() if k >> 3 else 0 for k in kinds]
    clocks, t0 = [], start
    for c in range(n_clocks):
        t0 = signed(t0 + firsts.zigzag())
        t = [t0]
        planes = ([t_bytes], t_high, t_low, escapes)
        if rows[c] > 1:
            for step in column(steps[c], firsts.zigzag(), rows[c] - 1, *planes):
                t.append(signed(t[-1] + step * UNITS[kinds[c] & 7]))
        arrival, r = kinds[c] >> 3, t
        if arrival:
            x = column(lags[c], firsts.zigzag(), rows[c], *planes)
            if arrival == 1:
                r = [signed(a + b) for a, b in zip(t, x)]
            else:
                r = [signed(t[0] + x[0])]
                for d in x[1:]:
                    r.append(signed(r[-1] + d))
        clocks.append(list(zip(t, r)))
    picked, clock = [], -1
    for _ in range(n_schedules):
        clock += head.zigzag()
        picked.append(clock)
    schedules = []
    for clock, pairs in zip(picked, [head.varint() for _ in range(n_schedules)]):
        at, chosen = 0, [] if pairs else clocks[clock]
        for _ in range(pairs):
            at += odd.varint()
            take = odd.varint() + 1
            chosen += clocks[clock][at : at + take]
            at += take
        schedules.append(chosen)

    stride, ids, next_ = head.varint(), [], 0
    for _ in range(n_streams):
        ids.append(next_ + head.varint())
        next_ = ids[-1] + 1
    times, schedule = [], 0
    for _ in range(n_streams):
        schedule += head.zigzag()
        times.append(schedules[schedule])
    shape = [head.varint() for _ in range(n_streams)]
    form = [forms[head.varint()] for _ in range(n_streams)]
    row_shapes = []
    for i in range(n_streams):
        own = [shapes[shape[i] - 1]] * len(times[i]) if shape[i] else []
        while len(own) < len(times[i]):
            own += [shapes[odd.varint()]] * (odd.varint() + 1)
        row_shapes.append(own)
    stored = [sum(1 for s in own if not s[1]) for own in row_shapes]
    misfits = [head.varint() if n and f[0] else 0 for n, f in zip(stored, form)]
    first = []
    for i in range(n_streams):
        expected = first[i - stride] if stride and i >= stride else 0
        first.append(signed(expected + firsts.zigzag()) if stored[i] else expected)
    step, bits = max(1, stride), [[]] * n_streams
    for i in (i for k in range(min(step, n_streams)) for i in range(k, n_streams, step)):
        if stored[i]:
            x = column(form[i][2], first[i], stored[i], v_bytes, v_high, v_low, escapes)
            bits[i] = [value_bits(form[i][:2], m) for m in x]
    for i in range(n_streams):
        at = 0
        for _ in range(misfits[i]):
            at += odd.varint()
            bits[i][at] = (bits[i][at] + odd.zigzag()) & MASK
            at += 1
    assert all(s.at == len(s.data) for s in all_)
    assert sum(map(len, times)) == count
    for i in range(n_streams):
        values = iter(bits[i])
        for (t, r), (kind, bare, exponent, quality) in zip(times[i], row_shapes[i]):
            yield ids[i], kind, exponent, 0 if bare else next(values), quality, t, r


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        for line in decode(file.read()):
            print(*line)
