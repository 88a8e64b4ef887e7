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


def sections(s, wanted):
    out, joined = [], []
    while len(out) + len(joined) < wanted:
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


class Planes:
    """Residuals of columns in byte planes."""

    def __init__(self, sections):
        self.escapes = sections[0]
        self.times = ([sections[1]], sections[2], sections[3])
        self.values = (sections[4:8], sections[8], sections[9])

    def residuals(self, form, is_time, count):
        w, group = form[1] & 15, form[1] >> 4
        if w == 0:
            return [0] * count
        bytes_, high, low = self.times if is_time else self.values
        top = (bytes_[group] if w == 1 else high).take(count)
        planes = [low.take(count) for _ in range(w - 1)] + [top]
        out = []
        for i in range(count):
            z = sum(p[i] << (8 * k) for k, p in enumerate(planes))
            if z == (1 << 8 * w) - 1:
                z += self.escapes.varint()
            out.append((z >> 1) ^ -(z & 1))
        return out


class Coded:
    """Residuals of columns from the range coder."""

    def __init__(self, data, readings):
        self.data, self.at, self.value, self.range = data, 0, 0, (1 << 48) - 1
        for _ in range(3):
            self.value = self.value << 16 | self.next()
        self.shift = 22
        while self.shift > 20 and 1 << (32 - self.shift) < 2 * readings:
            self.shift -= 1
        self.slots, self.column = {}, 0

    def next(self):
        two = self.data[self.at : self.at + 2]
        self.at += 2
        return int.from_bytes(two + bytes(2 - len(two)), "big")

    def normalise(self):
        if self.range < 1 << 32:
            self.range <<= 16
            self.value = self.value << 16 | self.next()

    def raw(self, count):
        result = 0
        while count:
            take = min(count, 16)
            count -= take
            self.range >>= take
            part = min(self.value // self.range, (1 << take) - 1)
            self.value -= part * self.range
            result = result << take | part
            self.normalise()
        return result

    def bit(self, *slots):
        seen = [self.slots.get(slot, (32768, 0)) for slot in slots]
        p = seen[0][0]
        if len(seen) == 2:
            (q, n), m = seen[1], seen[0][1]
            one, two = (5 * m + 3) * (5 * n + 53), (5 * n + 3) * (5 * m + 53)
            p += (q - p) * (65536 * two // (one + two)) >> 16
        part = (self.range >> 16) * p
        bit = self.value < part
        if bit:
            self.range = part
        else:
            self.range -= part
            self.value -= part
        self.normalise()
        for slot, (p, n) in zip(slots, seen):
            rate = 65536 // (n + 2)
            p = p + ((65535 - p) * rate >> 16) if bit else p - (p * rate >> 16)
            self.slots[slot] = (p, min(n + 1, 31))
        return int(bit)

    def block(self, what, a, b):
        key = (what | a << 3 | b << 24) & 0xFFFFFFFF
        return ((key * 0x9E3779B1 & 0xFFFFFFFF) >> self.shift) * 16

    def residuals(self, form, is_time, count):
        activity, shift = form[1] & 15, form[1] >> 4
        if activity == 0:
            return [0] * count
        self.column += 1
        kind = activity + (16 if is_time else 0)
        self.history, self.recent, self.before, self.sign = 0, 0, 0, 0
        out = []
        for _ in range(count):
            r = self.residual(kind, activity < 3, 15 if is_time else 1)
            out.append(r << shift | self.raw(shift))
        return out

    def residual(self, kind, is_quiet, mask):
        length = 0
        if is_quiet:
            shared = self.block(0, kind, self.recent) + self.history
            own = self.block(1, self.column, 0) + (self.history & mask)
            length = self.bit(shared, own)
            self.history = (self.history << 1 | length) & 15
        if not is_quiet or length:
            shared = self.block(2, kind | self.recent << 8, self.before)
            own, node = self.block(3, self.column, 0), 1
            for _ in range(4):
                node = node << 1 | self.bit(shared + node, own + node)
            length = min(15 + self.raw(6), 64) if node == 31 else node - 16
        self.before = self.recent
        if length == 0:
            self.recent = self.sign = 0
            return 0
        negative = self.bit(self.block(4, kind, 0) + (min(length, 3) - 1) * 3 + self.sign)
        nodes, left, node = self.block(5, kind, length), length - 1, 1
        while left and node < 16:
            left -= 1
            node = node << 1 | self.bit(nodes + node)
        magnitude = node << left | self.raw(left)
        self.recent = sum(length >= n for n in (1, 2, 3, 5, 8, 11))
        self.sign = 2 if negative else 1
        return -magnitude if negative else magnitude


def column(form, is_time, first, n, store, beside=None):
    predictor, _, divisor = form
    residuals = store.residuals(form, is_time, n if predictor == 0 else n - 1)
    x = [] if predictor == 0 else [first]
    for r in residuals:
        a = x[-1] if x else first
        b = x[-2] if len(x) > 1 else a
        expected = [first, a, a + signed(a - b), b + (signed(a - b) >> 1), a, a][predictor]
        if predictor > 3 and beside[len(x)] is not None:
            y, before = beside[len(x)], beside[len(x) - 1]
            if predictor == 4:
                expected = y
            elif before is not None:
                expected = a + y - before
        x.append(signed(expected + r * divisor))
    return x


def align(times, others, values):
    """The sibling's value at each of the times, or None."""
    out, j = [], 0
    for t in times:
        while j < len(others) and others[j] < t:
            j += 1
        found = j < len(others) and others[j] == t
        out.append(values[j] if found else None)
        j += found
    return out


def value_bits(form, m):
    code, e = form
    if code == 0:
        return m & MASK
    d = float(m) / float(10**e) if e >= 0 else float(m) * float(10**-e)
    if code == 2:
        d = struct.unpack("<f", struct.pack("<f", d))[0]
    return struct.unpack("<Q", struct.pack("<d", d))[0]


def decode(batch):
    assert batch[:4] == b"\x02SLB" and batch[4] in (0, 2)
    assert zlib.crc32(batch[:-4]) == struct.unpack("<I", batch[-4:])[0]
    s = Section(batch[6:-4])
    count, _revision, start, _width = s.varint(), s.varint(), s.zigzag(), s.varint()
    s.zigzag(), s.varint()
    if batch[4] & 2:
        all_ = sections(s, 3)
        store = Coded(s.take(s.varint()), count)
    else:
        all_ = sections(s, 13)
        store = Planes(all_[3:])
    assert s.at == len(s.data)
    head, firsts, odd = all_[:3]
    n_streams, n_schedules, n_clocks = head.varint(), head.varint(), head.varint()
    shapes = []
    for _ in range(head.varint()):
        kind, exponent = struct.unpack("<Bb", head.take(2))
        shapes.append((kind & 7, kind >> 3 & 1, exponent, head.varint()))

    def column_form():
        return head.u8(), head.varint(), head.varint()

    time_forms = [column_form() for _ in range(head.varint())]
    forms = [
        struct.unpack("<Bb", head.take(2)) + (column_form(),) for _ in range(head.varint())
    ]

    rows = [head.varint() for _ in range(n_clocks)]
    unit = UNITS[head.u8()]
    kinds = [head.u8() for _ in range(n_clocks)]
    steps = [time_forms[head.varint()] if n > 1 else 0 for n in rows]
    lags = [time_forms[head.varint()] if k >> 3 else 0 for k in kinds]
    clocks, t0, step0 = [], start, 0
    for c in range(n_clocks):
        t0 = signed(t0 + firsts.zigzag() * unit)
        t = [t0]
        if rows[c] > 1:
            step0 = signed(step0 + firsts.zigzag())
            for step in column(steps[c], True, step0, rows[c] - 1, store):
                t.append(signed(t[-1] + step * UNITS[kinds[c] & 7]))
        arrival, r = kinds[c] >> 3, t
        if arrival:
            x = column(lags[c], True, firsts.zigzag(), rows[c], store)
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
    siblings = [head.varint() + 1 if n and f[2][0] > 3 else 0 for n, f in zip(stored, form)]
    misfits = [head.varint() if n and f[0] else 0 for n, f in zip(stored, form)]
    first = []
    for i in range(n_streams):
        expected = first[i - stride] if stride and i >= stride else 0
        first.append(signed(expected + firsts.zigzag()) if stored[i] else expected)
    step, bits, done = max(1, stride), [[]] * n_streams, []
    for i in (i for k in range(min(step, n_streams)) for i in range(k, n_streams, step)):
        if stored[i]:
            beside = None
            if siblings[i]:
                other, values = done[-siblings[i]]
                beside = align([t for t, _ in times[i]], [t for t, _ in times[other]], values)
            x = column(form[i][2], False, first[i], stored[i], store, beside)
            done.append((i, x))
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
