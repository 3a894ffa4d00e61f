"""What the loops are made of: bytes, words and vectors at an address, and how a loop is compiled.

Belongs here: single steps that know nothing of exports, and what numba is told. Does not: lines (cutting.py), tuples (copying.py).

Texts are held as words of eight bytes, the first byte lowest, as the processors do that we run on.
"""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Bytes looked at together; a bit for each fits a word.
WIDTH = 64
WORD_BYTES = 8

COMMA, LINE_END, QUOTE, RETURN, ZERO, BACKSLASH, PLUS, DASH = (ord(mark) for mark in ',\n"\r\0\\+-')
DIGIT_0, _DIGIT_9, LETTER_A, LETTER_T, LETTER_Z, COLON, POINT = (ord(mark) for mark in "09aTZ:.")
LAST_ASCII = 127


def as_word(text: bytes) -> int:
    """Some bytes as the word that holds them."""
    return int.from_bytes(text, "little")


# Integers wrap and nothing is divided by zero: no loop can fail.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
loop = numba.njit(forceinline=True, **_OPTIONS)


def exported(count: int) -> Callable[..., Any]:
    """Compile a loop of so many arguments for callers outside."""
    return numba.cfunc(types.int64(*[types.int64] * count), **_OPTIONS)  # type: ignore[no-any-return]


def _reads(bits: int, kind: Any) -> Any:
    """Make a function that reads a number at an address, aligned or not."""

    def read(typing_context: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))
            found.align = 1
            return builder.zext(found, ir.IntType(64)) if bits < 64 else found

        return kind(types.int64), generate

    return intrinsic(read)


def _writes(bits: int, kind: Any, *, is_swapped: bool = False) -> Any:
    """Make a function that writes a number at an address, aligned or not; swapped, its highest byte first."""

    def write(typing_context: Any, place: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.trunc(arguments[1], ir.IntType(bits)) if bits < 64 else arguments[1]
            value = builder.bswap(value) if is_swapped else value
            builder.store(value, builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, kind), generate

    return intrinsic(write)


byte_at, put_byte = _reads(8, types.int64), _writes(8, types.int64)
number_at, put_number_at = _reads(64, types.int64), _writes(64, types.int64)
bits_at = _reads(64, types.uint64)
half_bits_at, put_half_bits = _reads(32, types.uint64), _writes(32, types.uint64)
# As PostgreSQL's binary COPY has them: the highest byte first.
put_16, put_32, put_64 = (_writes(bits, types.int64, is_swapped=True) for bits in (16, 32, 64))
put_bits_64 = _writes(64, types.uint64, is_swapped=True)


@intrinsic
def hash_line(typing_context: Any, function: Any, place: Any, size: Any, seed: Any, found: Any) -> Any:
    """Call XXH3_128bits_withSeed at an address; the high and the low half are written to `found`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.LiteralStructType([word, word]), [word, word, word])
        halves = builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:4])
        high = builder.inttoptr(arguments[4], word.as_pointer())
        builder.store(builder.extract_value(halves, 1), high)
        builder.store(builder.extract_value(halves, 0), builder.gep(high, [ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def find_byte(typing_context: Any, place: Any, byte: Any) -> Any:
    """Say which of the 64 bytes from an address on are equal to a byte: bit n of the n-th."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, number = ir.VectorType(ir.IntType(8), WIDTH), ir.IntType(32)
        found = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
        found.align = 1
        nothing = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(nothing, builder.trunc(arguments[1], ir.IntType(8)), ir.Constant(number, 0))
        every = builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(number, WIDTH), [0] * WIDTH))
        return builder.bitcast(builder.icmp_unsigned("==", found, every), ir.IntType(64))

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def find_not_ascii(typing_context: Any, place: Any) -> Any:
    """Say which of the 64 bytes from an address on are above 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), WIDTH)
        found = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
        found.align = 1
        return builder.bitcast(builder.icmp_signed("<", found, ir.Constant(vector, [0] * WIDTH)), ir.IntType(64))

    return types.uint64(types.int64), generate


@intrinsic
def lowest_bit(typing_context: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def copy_bytes(typing_context: Any, target: Any, source: Any, size: Any) -> Any:
    """Copy bytes from an address to another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(builder, builder.inttoptr(arguments[0], byte), builder.inttoptr(arguments[1], byte), arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@loop
def one_bit(number):
    """The bit of a number below 64, as a word."""
    return numba.uint64(1) << numba.uint64(number)


@loop
def find_field_ends(place, end):
    """Say which of the 64 bytes from an address on end a field; from the end on none does."""
    if place + WIDTH <= end:
        return find_byte(place, COMMA) | find_byte(place, LINE_END)
    found = numba.uint64(0)
    for number in range(end - place):
        byte = byte_at(place + number)
        if byte == COMMA or byte == LINE_END:  # noqa: SIM109 - as above
            found |= one_bit(number)
    return found


@loop
def count_digits(place, end):
    """How many decimal digits stand from a place on."""
    at = place
    while at < end and DIGIT_0 <= byte_at(at) <= _DIGIT_9:
        at += 1
    return at - place
