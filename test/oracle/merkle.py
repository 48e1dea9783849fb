#!/usr/bin/env python3
"""merkle.py: prints merkle_cases.h, the trees, inclusion and consistency proofs
of RFC 6962 and RFC 9162 up to eight leaves, for test/unit/test_merkle.c.

The definitions of RFC 9162, 2.1, word by word; the leaves are those of
transparency-dev/merkle's reference data.
"""
import hashlib

LEAVES = [bytes.fromhex(x) for x in (
    '', '00', '10', '2021', '3031', '40414243', '5051525354555657',
    '606162636465666768696a6b6c6d6e6f')]


def h(data):
    return hashlib.sha256(data).digest()


def largest_power(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d):
    if not d:
        return h(b'')
    if len(d) == 1:
        return h(b'\0' + d[0])
    k = largest_power(len(d))
    return h(b'\1' + mth(d[:k]) + mth(d[k:]))


def path(m, d):
    if len(d) == 1:
        return []
    k = largest_power(len(d))
    if m < k:
        return path(m, d[:k]) + [mth(d[k:])]
    return path(m - k, d[k:]) + [mth(d[:k])]


def subproof(m, d, complete):
    if m == len(d):
        return [] if complete else [mth(d)]
    k = largest_power(len(d))
    if m <= k:
        return subproof(m, d[:k], complete) + [mth(d[k:])]
    return subproof(m - k, d[k:], False) + [mth(d[:k])]


def main():
    print('/* Made by test/oracle/merkle.py: RFC 9162, 2.1, word by word. */')
    print('/* clang-format off */')
    print('#define CASE_LEAVES %d' % len(LEAVES))
    print('static const char *const case_leaves[] = {')
    for leaf in LEAVES:
        print('\t"%s",' % leaf.hex())
    print('};')
    print('static const char *const case_leaf_hashes[] = {')
    for leaf in LEAVES:
        print('\t"%s",' % mth([leaf]).hex())
    print('};')
    print('static const char *const case_roots[] = {')
    for n in range(len(LEAVES) + 1):
        print('\t"%s",' % mth(LEAVES[:n]).hex())
    print('};')
    for name, cases in (
            ('inclusion', [(i, n, path(i, LEAVES[:n]))
                           for n in range(1, 9) for i in range(n)]),
            ('consistency', [(m, n, subproof(m, LEAVES[:n], True))
                             for n in range(1, 9) for m in range(1, n + 1)])):
        print('static const ProofCase case_%s[] = {' % name)
        for first, second, proof in cases:
            print('\t{%d, %d, %d, "%s"},' % (first, second, len(proof),
                                           b''.join(proof).hex()))
        print('};')
    print('/* clang-format on */')


if __name__ == '__main__':
    main()
