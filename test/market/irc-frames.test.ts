/** docs/protocol.md §12.6: adverts in lines of IRC. */
import fc from 'fast-check'
import t from 'tap'
import { frameLimits, Pace, Reassembly, requestLine, splitText } from '../../market/channels/irc-frames.ts'

const channel = '#relays'
const longest = 'x'.repeat(4096)
/** Texts of up to 4096 bytes, of every plane of Unicode. */
const texts = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1024 }),
    fc.string({ minLength: 1, maxLength: 4096 }),
  )
  .filter((text) => text.isWellFormed() && Buffer.byteLength(text) <= 4096)

t.test('a text comes back from its lines, whatever their order, repetition and neighbours', async (t) => {
  const law = fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(texts, { minLength: 1, maxLength: 4 }),
      fc.infiniteStream(fc.nat()),
      async (all, dice) => {
        const draw = () => dice.next().value as number
        const reassembly = new Reassembly()
        const said = all.flatMap((text, index) =>
          splitText(text, channel).map((line) => ({ nick: `nick${index % 2}`, line, at: draw() })),
        )
        const noise = said.slice(0, 6).map((one) => ({ ...one, at: draw() })) // lines that are said again
        const heard = new Set<string>()
        for (const { nick, line } of [...said, ...noise].sort((a, b) => a.at - b.at)) {
          const text = reassembly.take(nick, line, 0)
          if (text !== undefined) heard.add(text)
        }
        return all.every((text) => heard.has(text)) && heard.size === all.length
      },
    ),
    { numRuns: 60 },
  )

  await t.resolves(law)
})

t.test('every line fits into 512 bytes behind the longest prefix, and is plain ASCII', async (t) => {
  const name = `#${'c'.repeat(frameLimits.channelLength - 1)}`
  const prefix = `:${'n'.repeat(16)}!~${'u'.repeat(10)}@${'h'.repeat(63)} `
  for (const room of [channel, name]) {
    const lines = splitText(longest, room)
    t.ok(lines.length <= frameLimits.parts)
    for (const line of lines) {
      const bytes = Buffer.byteLength(`${prefix}PRIVMSG ${room} :${line}\r\n`)
      t.ok(bytes <= 512 && /^[\x21-\x7e]+( [\x21-\x7e]+){3}$/.test(line), `${bytes}`)
    }
  }
  t.throws(() => splitText(`${longest}x`, channel), { code: 'ERR_TOO_LARGE' })
})

t.test('what is forged, contradicts or is no frame completes nothing', async (t) => {
  const lines = splitText(longest, channel)
  const [first, ...rest] = lines
  const all = (said: readonly string[], nick = 'a') => {
    const reassembly = new Reassembly()
    return said.map((line) => reassembly.take(nick, line, 0)).filter((text) => text !== undefined)
  }
  const forged = first!.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))

  t.same(all(lines), [longest])
  t.same(all([forged, ...lines]), [], 'the first word counts, and the hash is another')
  t.same(all([...rest, forged, ...lines]), [longest], 'a forged whole is forgotten')
  t.same(all(lines.map((line) => line.replace(/\/\d+/, '/32'))), [], 'another count')
  t.same(all(lines.map((line) => line.replace(/RM1 ./, 'RM1 0').replace(/RM1 0{2}/, 'RM1 01'))), [])
  for (const odd of [
    requestLine,
    'RM1',
    'RM1 0123456789abcdef 0/1 QUJD',
    'RM1 0123456789abcdef 2/1 QUJD',
    'RM1 0123456789abcdef 1/99 QUJD',
    'RM1 0123456789abcdef 1/1 QUJ',
    'RM1 0123456789abcdef 1/1 ====',
    'RM1 0123456789abcdef 1/1 QUJD QUJD',
    'RM1 0123456789ABCDEF 1/1 QUJD',
  ])
    t.same(all([odd]), [], odd)

  const mixed = new Reassembly()
  const heard = lines.map((line, index) => mixed.take(index === 0 ? 'mallory' : 'a', line, 0))
  t.same(new Set(heard), new Set([undefined]), 'lines of two nicks are no text')
})

t.test('memory is bounded, whatever is said, and time ends what is unfinished', async (t) => {
  const reassembly = new Reassembly()
  const [first, ...rest] = splitText(longest, channel)
  const unfinished = (index: number) => `RM1 ${index.toString(16).padStart(16, '0')} 1/2 ${'A'.repeat(400)}`

  for (let index = 0; index < 100; index++) reassembly.take('flooder', unfinished(index), 0)
  t.equal(reassembly.size, frameLimits.unfinishedOfOne)
  for (let index = 0; index < 5000; index++) reassembly.take(`nick${index}`, unfinished(index), 0)
  t.equal(reassembly.size, frameLimits.unfinished)

  const slow = new Reassembly()
  slow.take('a', first!, 0)
  t.same(
    rest.map((line) => slow.take('a', line, frameLimits.lifeMs)).filter((text) => text !== undefined),
    [],
    'the first line came too long ago',
  )
  t.equal(slow.take('a', first!, frameLimits.lifeMs), longest, 'and is taken again')

  const huge = new Reassembly()
  const bytes = 'A'.repeat(440)
  for (let index = 1; index < 32; index++) huge.take('a', `RM1 ${'0'.repeat(16)} ${index}/32 ${bytes}`, 0)
  t.ok(huge.size <= 1, 'a text that is too long starts over')
})

t.test('a nick that floods is heard at a bounded pace, and drowns nobody else', async (t) => {
  const reassembly = new Reassembly()
  const line = (index: number) => splitText(`text ${index}`, channel)[0]!
  let heard = 0
  for (let index = 0; index < 3000; index++)
    if (reassembly.take('flooder', line(index), 0) !== undefined) heard++

  t.equal(heard, frameLimits.burst)
  t.equal(reassembly.take('a', line(0), 0), 'text 0')
  t.equal(reassembly.take('flooder', line(0), frameLimits.lineMs), 'text 0')
})

t.test('a pace: a burst, then evenly', async (t) => {
  const pace = new Pace(4, 2000)

  t.same(
    Array.from({ length: 6 }, () => pace.take(1000)),
    [0, 0, 0, 0, 2000, 4000],
  )
  t.equal(pace.wait(5000), 2000)
  t.equal(pace.take(100_000), 0)
})
