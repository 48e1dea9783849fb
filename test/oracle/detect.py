#!/usr/bin/python3
"""Labelled texts for test_detect_set.c: detect.py > detect_cases.h

Numbers are drawn at random in the forms that their issuers document and kept
if python-stdnum (Debian: python3-stdnum), which shares no code with agentpay,
finds them valid; IBANs and card numbers likewise.  Telephone numbers are of
ranges that regulators keep free for fiction (Ofcom, NANPA's 555-01xx,
ARCEP's, Bundesnetzagentur's) or random in the forms of E.123.  Negatives are
what stands in the free text of payments and is about nobody.
"""
import importlib
import random
import string
import uuid

draw = random.Random(20261127)


def module(name):
    return importlib.import_module("stdnum." + name)


def fill(form):
    """# a digit, A a letter, the rest as it is."""
    return "".join(
        str(draw.randrange(10)) if c == "#"
        else draw.choice(string.ascii_uppercase) if c == "A" else c
        for c in form)


def valid(name, form, tries=2000000):
    check = module(name).is_valid
    for _ in range(tries):
        number = fill(form)
        if check(number):
            return number
    raise SystemExit(f"no {name} of form {form}")


def code_it():
    from stdnum.it import codicefiscale
    while True:
        number = fill("AAAAAA##") + draw.choice("ABCDEHLMPRST") + "%02d" % (
            draw.randrange(1, 29) + draw.choice([0, 40])) + fill("A###")
        number += codicefiscale.calc_check_digit(number)
        if codicefiscale.is_valid(number):
            return number


def curp():
    from stdnum.mx import curp as m
    while True:
        number = fill("AAAA") + "%02d%02d%02d" % (
            draw.randrange(40, 99), draw.randrange(1, 13),
            draw.randrange(1, 29)) + draw.choice("HM") + "DF" + fill("AAA#")
        number += m.calc_check_digit(number)
        if m.is_valid(number):
            return number


def dated(name, form):
    """A date of birth stands for D (ddmmyy), Y (yymmdd) and C (yyyymmdd)."""
    while True:
        day, month = draw.randrange(1, 29), draw.randrange(1, 13)
        year = draw.randrange(1940, 1999)
        number = fill(form.replace("D", "%02d%02d%02d" % (day, month, year % 100))
                      .replace("Y", "%02d%02d%02d" % (year % 100, month, day))
                      .replace("C", "%04d%02d%02d" % (year, month, day)))
        if module(name).is_valid(number):
            return number


def iban():
    from stdnum import iban as m
    country, size = draw.choice([("DE", 22), ("FR", 27), ("BE", 16), ("AT", 20),
                                 ("ES", 24), ("PL", 28), ("NL", 18)])
    body = country + "00" + ("ABNA" if country == "NL" else "")
    body += fill("#" * (size - len(body)))
    number = body[:2] + m.calc_check_digits(body) + body[4:]
    if not m.is_valid(number, check_country=False):
        raise SystemExit(f"no IBAN: {number}")
    return draw.choice([number, " ".join(
        number[i:i + 4] for i in range(0, len(number), 4))])


def card():
    from stdnum import luhn
    prefix, size = draw.choice([("4", 16), ("51", 16), ("34", 15), ("6011", 16),
                                ("3528", 16), ("36", 14)])
    number = prefix + fill("#" * (size - 1 - len(prefix)))
    number += luhn.calc_check_digit(number)
    dash = draw.choice(["", " ", "-"])
    return dash.join(number[i:i + 4] for i in range(0, size, 4))


def track():
    from stdnum import luhn
    number = "4" + fill("##############")
    number += luhn.calc_check_digit(number)
    return draw.choice([f";{number}=30121010000012300000?",
                        f"%B{number}^DOE/JANE^3012101000000000?"])


def grouped(number, *sizes, dash=" "):
    parts = []
    for size in sizes:
        parts.append(number[:size])
        number = number[size:]
    return dash.join(parts)


POSITIVE = {
    "PAN": [card] * 3,
    "IBAN": [iban] * 3,
    "EMAIL": [lambda: fill("aAA#").lower() + "@example." + draw.choice(["com", "org", "co.uk"])],
    "TRACK": [track],
    "CVV": [lambda: draw.choice(["CVV", "cvc:", "CVV2 ", "cvv is", "security code"]) + " " + fill("###")],
    "PHONE": [
        lambda: fill("+44 20 7946 0###"), lambda: fill("+1 (202) 555-01##"),
        lambda: fill("+4930230####"), lambda: fill("(212) 555-01##"),
        lambda: fill("415-555-01##"), lambda: fill("01 99 00 ## ##"),
        lambda: fill("07700 900###"), lambda: fill("020 7946 0###"),
        lambda: fill("030 23125 ###"), lambda: fill("tel 2########"),
        lambda: fill("+91 98### #####"), lambda: fill("+55 11 9####-####"),
    ],
    "IP": [
        lambda: "192.0.2.%d" % draw.randrange(256),
        lambda: "203.0.113.%d" % draw.randrange(256),
        lambda: "2001:db8::%x" % draw.randrange(1, 65536),
        lambda: "2001:db8:0:1:%x:2:3:4" % draw.randrange(1, 65536),
    ],
    "ID": [
        lambda: valid("us.ssn", "###-##-####"),
        lambda: "SSN " + valid("us.ssn", "#########"),
        lambda: draw.choice(["CE", "JG", "PX"]) + fill(" ## ## ## C"),
        lambda: "NHS " + grouped(valid("gb.nhs", "##########"), 3, 3, 4),
        lambda: grouped(valid("de.idnr", "###########"), 2, 3, 3, 3),
        lambda: "Steuer-ID " + valid("de.idnr", "###########"),
        lambda: valid("fr.nir", draw.choice("12") + "##0####5######"),
        code_it,
        lambda: valid("es.dni", "########A"),
        lambda: valid("es.nie", draw.choice("XYZ") + "#######A"),
        lambda: "BSN " + valid("nl.bsn", "#########"),
        lambda: "PESEL " + dated("pl.pesel", "Y#####"),
        lambda: dated("se.personnummer", "Y-####"),
        lambda: dated("fi.hetu", "D-###A"),
        lambda: dated("no.fodselsnummer", "D#####"),
        lambda: grouped(dated("be.nn", "Y#####"), 2, 2, 2, 3, 2),
        lambda: module("br.cpf").format(valid("br.cpf", "###########")),
        lambda: grouped(valid("in_.aadhaar", "############"), 4, 4, 4),
        lambda: valid("in_.pan", "AAAPA####A"),
        lambda: dated("cn.ric", "110101C####"),
        lambda: "SIN " + grouped(valid("ca.sin", "#########"), 3, 3, 3),
        lambda: "TFN " + grouped(valid("au.tfn", "#########"), 3, 3, 3),
        lambda: "NIF " + valid("pt.nif", "#########"),
        lambda: module("ch.ssn").format(valid("ch.ssn", "756##########")),
        lambda: dated("kr.rrn", "Y-1######"),
        curp,
        lambda: "TCKN " + valid("tr.tckimlik", "###########"),
        lambda: "CPR " + dated("dk.cpr", "D-####"),
    ],
}

NEGATIVE = [
    lambda: fill("#####"), lambda: fill("########"), lambda: fill("#########"),
    lambda: fill("##########"), lambda: fill("###########"),
    lambda: fill("############"), lambda: fill("#############"),
    lambda: "INV-" + fill("######"), lambda: fill("A#-#####-####"),
    lambda: fill("###-#######-#######"),            # orders of a large shop
    lambda: "ORD" + fill("########"), lambda: fill("AA#########AA"),
    lambda: str(uuid.UUID(int=draw.getrandbits(128), version=4)),
    lambda: "%032x" % draw.getrandbits(128),
    lambda: "txn_" + fill("##########"), lambda: "ch_" + fill("aAaA####").lower(),
    lambda: "2026-%02d-%02d" % (draw.randrange(1, 13), draw.randrange(1, 29)),
    lambda: "%02d.%02d.2026" % (draw.randrange(1, 29), draw.randrange(1, 13)),
    lambda: "%02d/%02d/2026 %02d:%02d" % (draw.randrange(1, 29), draw.randrange(1, 13),
                                          draw.randrange(24), draw.randrange(60)),
    lambda: "2026-11-24T%02d:%02d:%02d.%06dZ" % (
        draw.randrange(24), draw.randrange(60), draw.randrange(60), draw.randrange(1000000)),
    lambda: str(1764000000 + draw.randrange(9000000)),   # seconds since 1970
    lambda: str(1764000000000 + draw.randrange(9000000000)),
    lambda: "%d,%03d,%03d.%02d" % (draw.randrange(1, 999), draw.randrange(1000),
                                   draw.randrange(1000), draw.randrange(100)),
    lambda: "EUR %d.%02d" % (draw.randrange(1, 1000000), draw.randrange(100)),
    lambda: "%d.%03d.%03d,%02d" % (draw.randrange(1, 999), draw.randrange(1000),
                                   draw.randrange(1000), draw.randrange(100)),
    lambda: "v%d.%d.%d" % (draw.randrange(20), draw.randrange(20), draw.randrange(99)),
    lambda: "SKU " + fill("AA-####-##"), lambda: fill("4## x 2## x 1## mm"),
    lambda: fill("#.##### #.#####"), lambda: "flight BA" + fill("####"),
    lambda: fill("1Z###A##########"),               # parcels
    lambda: "%02x:%02x:%02x:%02x:%02x:%02x" % tuple(draw.randrange(256) for _ in range(6)),
    lambda: "%02d:%02d:%02d" % (draw.randrange(24), draw.randrange(60), draw.randrange(60)),
    lambda: "std::vec" + fill("#"), lambda: "cvv check passed", lambda: "table 5 @ 19.30",
    lambda: fill("room ###, floor #"), lambda: "rate " + fill("0.######"),
    lambda: "batch " + fill("####-####"), lambda: fill("PO ##########"),
    lambda: "ref " + fill("AAAA####"), lambda: fill("978#########"),
]

AROUND = ["{}", "note: {}", "paid by customer {} today", "({})", "see {}, thanks",
          "x\\n{}\\ny", "für {} bezahlt"]


def row(kind, text):
    around = draw.choice(AROUND)
    before, after = around.split("{}")
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    print(f'\t{{"{kind}", "{before}", "{quoted}", "{after}"}},')


print("/* By test/oracle/detect.py; do not edit. */")
print("/* clang-format off */")
print("static const struct")
print("{\n\tconst char *kind, *before, *what, *after;\n} labelled[] = {")
for kind, makers in POSITIVE.items():
    for maker in makers:
        for _ in range(8):
            row(kind, maker())
for maker in NEGATIVE:
    for _ in range(25):
        row("", maker())
print("};")
print("/* clang-format on */")
