import serialize from 'canonicalize'
import fc from 'fast-check'
import t from 'tap'
import { canonicalize, parseCanonical } from '../../market/canonical.ts'
import { protocolLimits } from '../../market/units.ts'

const malformed = { code: 'ERR_MALFORMED' }

const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }))
const name = fc.oneof(
  text,
  fc.constantFrom('0', '1', '7', '10', '07', '4294967295', '-', '!', '__proto__', 'toJSON'),
)
const leaf = fc.oneof(
  text,
  fc.maxSafeInteger().map((number) => number + 0), // never -0, which JSON has no canonical spelling of
  fc.boolean(),
  fc.constant(null),
)
/** Every value that may be signed, objects with any names included. */
const signable: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, leaf, tie('list'), tie('object')),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc
    .array(fc.tuple(name, tie('value')), { maxLength: 5 })
    .map((entries) => Object.fromEntries(entries) as unknown),
})).value

const codeUnit = fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit))
/** Any JSON value: fractions, huge numbers, lone surrogates. */
const anyJson = fc.oneof(
  fc.jsonValue(),
  fc.dictionary(fc.string({ unit: codeUnit }), fc.oneof(fc.string({ unit: codeUnit }), fc.double())),
)

const isSignable = (value: unknown, depth = 0): boolean => {
  if (depth > protocolLimits.jsonDepth) return false
  if (typeof value === 'string') return value.isWellFormed()
  if (typeof value === 'number') return Number.isSafeInteger(value)
  if (typeof value !== 'object' || value === null) return true
  return Object.entries(value).every(([key, item]) => key.isWellFormed() && isSignable(item, depth + 1))
}

const accepts = (given: string): boolean => {
  try {
    parseCanonical(given)
    return true
  } catch {
    return false
  }
}

/** RFC 8785 by the reference serializer, restricted to what may be signed. */
const isCanonical = (given: string): boolean => {
  try {
    const value: unknown = JSON.parse(given)
    return isSignable(value) && serialize(value) === given
  } catch {
    return false
  }
}
/** A text with one character taken away, doubled or replaced. */
const damaged = (given: string, place: number, by: string): string => {
  const at = place % given.length
  return given.slice(0, at) + by.replace('=', given.charAt(at).repeat(2)) + given.slice(at + 1)
}

t.test('§2.2: parseCanonical(canonicalize(x)) = x', async (t) => {
  fc.assert(
    fc.property(signable, (value) => {
      const canonical = canonicalize(value)

      t.same(parseCanonical(canonical), value)
      t.equal(canonicalize(parseCanonical(canonical)), canonical)
    }),
    { numRuns: 300 },
  )
})

t.test('§2.2: of all JSON texts exactly the canonical texts of signable values are accepted', async (t) => {
  const spaces = fc.constantFrom(undefined, 1)
  const written = fc
    .tuple(fc.oneof(signable, anyJson), spaces)
    .map(([value, space]) => JSON.stringify(value, null, space))
  const canonical = signable.map((value) => serialize(value) as string)
  const changed = fc
    .tuple(
      canonical,
      fc.nat(),
      fc.constantFrom('', '=', ' ', '0', '1', '-', '.', 'e', '"', ',', '{', '\\', 'a', '\uD800'),
    )
    .map(([text, place, by]) => damaged(text, place, by))
  const wild = fc.oneof(written, canonical, changed)
  let accepted = 0
  fc.assert(
    fc.property(wild, (given) => {
      if (accepts(given)) accepted += 1
      // Not an assertion of the runner: a text may look like the runner's own output.
      return accepts(given) === isCanonical(given)
    }),
    { numRuns: 1500 },
  )
  t.ok(accepted > 100, 'the property has seen enough texts that are accepted')
})

t.test('§2.2: every other spelling of a value is refused', async (t) => {
  const spellings: Record<string, string[]> = {
    'a name twice': ['{"a":1,"a":1}', '{"a":1,"a":2}', '{"a":{},"b":[],"a":{}}'],
    numbers: [
      '1e2',
      '1E2',
      '1e+2',
      '-0',
      '1.0',
      '0.1',
      '01',
      '+1',
      '9007199254740992',
      '1e400',
      'NaN',
      '0x1',
    ],
    space: [' 1', '1 ', '1\n', '[1, 2]', '{"a": 1}', '{"a":1 }', '\t{}', '[ ]'],
    escapes: [
      '"\\u0061"',
      '"\\/"',
      '"\\u000a"',
      '"\\u001F"',
      '"\\u0008"',
      '{"\\u0061":1}',
      '"\\ud83d\\ude00"',
      '"\\u2028"',
    ],
    order: ['{"b":1,"a":1}', '[{"a":1,"B":1}]', '{"\uFB01":1,"\u{1F600}":1}', '{"a":1,"":1}'],
    'lone surrogates': ['"\\ud800"', '"\uD800"', '"\\udc00\\ud800"', '{"\\ud800":1}', '{"\uDFFF":1}'],
    'names like integers': [
      '{"9":1,"10":1}',
      '{"a":1,"1":1}',
      '{"2":1,"1":1}',
      '{"1":1,"!":1}',
      '{"1":1,"1":1}',
    ],
    __proto__: ['{"a":1,"__proto__":1}', '{"__proto__":{"b":1,"a":1}}', '{"__proto__":1,"__proto__":1}'],
    'byte order mark': ['\uFEFF1', '\uFEFF{}', '{}\uFEFF'],
    'not JSON': ['', '{', 'undefined', "{'a':1}", '{"a":1,}', '[1]//', '"\u0001"', '{}{}', 'nul'],
  }
  for (const [what, texts] of Object.entries(spellings)) {
    for (const given of texts) t.throws(() => parseCanonical(given), malformed, `${what}: ${given}`)
  }
})

t.test('§2.2: the one spelling of a value is accepted', async (t) => {
  const texts = [
    '0',
    '-1',
    '9007199254740991',
    '""',
    '"\\b\\t\\n\\f\\r\\"\\\\\\u0000\\u001f/\u007f\u2028\u{1F600}"',
    '{"":1,"a":[],"b":{}}',
    '{"10":1,"9":1}',
    '{"!":1,"1":{"-":0,"5":0}}',
    '{"\u{1F600}":1,"\uFB01":1}',
    '{"__proto__":{"a":1},"a":1}',
  ]
  for (const given of texts) t.equal(canonicalize(parseCanonical(given)), given)
})

t.test('§2.2: a name __proto__ is a name and no prototype', async (t) => {
  const value = parseCanonical('{"__proto__":{"admin":true}}') as Record<string, unknown>

  t.equal(value.admin, undefined)
  t.same(Object.keys(value), ['__proto__'])
})

t.test('§2.2: nesting is bounded, for texts and for values', async (t) => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)

  t.ok(parseCanonical(nested(protocolLimits.jsonDepth + 1)))
  t.throws(() => parseCanonical(nested(protocolLimits.jsonDepth + 2)), malformed)
  t.throws(() => parseCanonical(nested(200_000)), malformed)
  t.throws(() => canonicalize(JSON.parse(nested(protocolLimits.jsonDepth + 2))), malformed)
})

t.test('§2.2: what has no JSON form is not signed', async (t) => {
  for (const value of [
    undefined,
    { a: undefined },
    [undefined],
    1n,
    Symbol('a'),
    Number.NaN,
    0.5,
    2 ** 53,
    '\uD800',
  ]) {
    t.throws(() => canonicalize(value), malformed)
  }
  t.throws(() => canonicalize({ '\uD800': 1 }), malformed)
  t.throws(() => canonicalize({ call: () => 1 }), malformed)
})

t.test('§2.2: names are compared by UTF-16 code unit, never normalised', async (t) => {
  t.equal(
    canonicalize({ '\uFB01': 1, '\u{1F600}': 2, é: 3, 'e\u0301': 4 }),
    '{"e\u0301":4,"é":3,"\u{1F600}":2,"\uFB01":1}',
  )
})
