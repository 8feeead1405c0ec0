/** A relay that advertises (docs/protocol.md §12.1): on disk first, true at every moment, revoked when it is over. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { decodeAdvert, isRevocation, openAdvert } from '../../market/advert.ts'
import { leadingZeroBits, stampDigest } from '../../market/stamp.ts'
import { mine } from '../../relay/market/miner.ts'
import { commands } from '../../relay/operator/commands.ts'
import { cheapBits, hourMs } from '../fixtures/adverts.ts'
import { start, startTestRelay } from '../fixtures/relay.ts'

const bits = ['--limit', `advertBits=${cheapBits}`]
const minuteMs = 60_000

interface Clock {
  ms: number
}

async function openRelay(t: Test, data: string, clock: Clock, args: readonly string[]) {
  const relay = await startTestRelay(data, { now: () => clock.ms, args: [...bits, ...args] })
  t.teardown(() => relay.close())
  const info = async () =>
    (await (await fetch(`${relay.url}/.well-known/relay`)).json()) as { advert: unknown; features: string[] }
  const board = async () => {
    const page = (await (await fetch(`${relay.url}/adverts`)).json()) as { adverts: { seq: number }[] }
    return page.adverts
  }
  const publish = () => relay.operator['publish-advert']({})
  return { ...relay, info, board, publish }
}

const outcomes = (state: { channels: readonly { channel: string; outcome: string }[] }) =>
  Object.fromEntries(state.channels.map(({ channel, outcome }) => [channel, outcome]))

t.test('§12.1: one text on every channel, at the prices that will hold, renewed and revoked', async (t) => {
  const clock = { ms: start }
  const folder = t.testdir({ board: {}, relay: {} })
  const document = join(folder, 'adverts.txt')
  const other = await openRelay(t, join(folder, 'board'), clock, ['--open'])
  const [board, file] = [`board:${other.url}`, `file:${document}`]
  const advertising = ['--advertise', board, '--advertise', file]
  const chain = ['--chain', 'devnet', '--price', 'storageGBDay=4000', '--price', 'egressGB=100']
  const data = join(folder, 'relay')
  const first = await openRelay(t, data, clock, [...chain, ...advertising])
  const made = await first.publish()

  t.same(outcomes(made), { 'board:self': 'published', [board]: 'published', [file]: 'published' })
  t.match(made, { isRevoked: false, silent: null, nextAt: null })
  const text = made.text ?? ''
  const { advert } = openAdvert(text, { now: clock.ms, bits: cheapBits, network: 'devnet' })
  t.match(advert, { serverPubKey: first.key, address: first.url, network: 'devnet', seq: start })
  t.match(advert, { storageCostPerGigPerDay: 4000, bandwidthCostPerGig: 100, ingressCostPerGig: 0 })
  t.equal(advert.expires, start + 24 * hourMs)
  t.same((await first.info()).advert, advert)
  t.same(advert.features, (await first.info()).features)
  t.ok(advert.features.includes('adverts'))
  t.same([await other.board(), await first.board()], [[advert], [advert]])
  t.equal(readFileSync(document, 'utf8'), `${text}\n`)

  t.comment('prices that rise are advertised before they hold, and those that fall once they do')
  const texts: string[] = [text]
  const renewed = async (prices: object) => {
    const state = await first.publish()
    t.match(state.advert, prices)
    t.not(state.text, texts.at(-1))
    t.equal(
      Object.values(outcomes(state)).every((outcome) => outcome === 'published'),
      true,
    )
    texts.push(state.text ?? '')
  }
  clock.ms += minuteMs
  const { from } = await first.operator['set-prices']({ storageGBDay: 5000 })
  t.match(
    await first.publish(),
    { text, nextAt: start + 10 * minuteMs },
    'not more often than boards take them',
  )
  clock.ms = start + 10 * minuteMs
  await renewed({ storageCostPerGigPerDay: 5000, bandwidthCostPerGig: 100 })
  t.ok(clock.ms < from)
  clock.ms += 10 * minuteMs
  await first.operator['set-prices']({ storageGBDay: 3000 })
  await renewed({ storageCostPerGigPerDay: 3000 })

  t.comment('after half of its life it is made anew')
  clock.ms += 12 * hourMs - 1
  t.equal((await first.publish()).text, texts.at(-1))
  clock.ms += 1
  await renewed({ storageCostPerGigPerDay: 3000 })
  t.same((await other.board()).length, 1)

  t.comment('the operator revokes it, and it stays so until he says otherwise')
  const revoked = await first.operator['revoke-advert']({})
  t.match(revoked, { advert: null, isRevoked: true, silent: /revoked/ })
  t.equal((await first.info()).advert, null)
  t.same(await other.board(), [decodeAdvert(revoked.text ?? '').advert])
  t.ok(isRevocation(decodeAdvert(readFileSync(document, 'utf8').trim()).advert))
  clock.ms += minuteMs
  await first.close()

  const second = await openRelay(t, data, clock, [...chain, ...advertising])
  t.match(await second.operator.advert({}), { advert: null, text: revoked.text, silent: /revoked/ })
  t.match(await second.publish(), { advert: null, silent: null, text: revoked.text })
  clock.ms += 10 * minuteMs
  const again = await second.publish()
  t.match(again, { advert: { storageCostPerGigPerDay: 3000 }, isRevoked: false })
  await second.operator.drain({ isOn: true })
  t.match(await second.publish(), { advert: null, silent: /drains/, isRevoked: true })
  await second.operator.drain({ isOn: false })
  clock.ms += 10 * minuteMs
  t.match(await second.publish(), { advert: { seq: clock.ms } })
  await second.close()

  t.comment('without --advertise the next start revokes it where it was')
  const third = await openRelay(t, data, clock, chain)
  const state = await third.publish()
  t.match(state, { advert: null, isRevoked: true, silent: 'no --advertise' })
  t.same(outcomes(state), { 'board:self': 'published', [board]: 'published', [file]: 'published' })
  t.match(await other.board(), [{ expires: clock.ms, timestamp: clock.ms }])
})

t.test('a channel that fails is tried again with patience, and keeps nobody from the others', async (t) => {
  const clock = { ms: start }
  const folder = t.testdir({ board: {}, relay: {} })
  const data = join(folder, 'relay')
  const gone = await openRelay(t, join(folder, 'board'), clock, ['--open'])
  const port = new URL(gone.url).port
  await gone.close()
  const [board, file] = [`board:${gone.url}`, `file:${join(folder, 'none', 'file')}`]
  const args = ['--open', '--metrics', '127.0.0.1:0', '--advertise', board, '--advertise', file]
  const relay = await openRelay(t, data, clock, args)
  const made = await relay.publish()

  t.same(outcomes(made), { 'board:self': 'published', [board]: 'failed', [file]: 'failed' })
  t.match(made.channels[1], { error: /ERR_BUSY.*reached/, at: start })
  t.ok((made.channels[1]?.retryAt ?? 0) >= start + 30_000)
  const back = await startTestRelay(join(folder, 'board'), {
    now: () => clock.ms,
    args: [...bits, '--open', '--listen', `127.0.0.1:${port}`],
  })
  t.teardown(() => back.close())
  t.match(outcomes(await relay.publish()), { [board]: 'published' })

  const page = await (await fetch(relay.metricsUrl ?? '')).text()
  t.match(page, `relay_advert_publications_total{channel="${board}",outcome="published"} 1`)
  t.match(page, /^relay_adverts 1$/m)
  const lines: string[] = []
  const io = {
    env: {},
    isTerminal: true,
    signal: AbortSignal.timeout(10_000),
    out: (text: string) => lines.push(text),
  }
  t.equal(await commands.advert?.run(io, ['show', '--data', data]), 0)
  t.match(lines.join('\n'), /network none[\s\S]* bits of work/)
  t.match(lines.join('\n'), new RegExp(`${board} +published`))
  await t.rejects(async () => void (await commands.advert?.run(io, ['mend', '--data', data])), /usage/)
})

t.test('whoever sells without a chain, or names no channel, is told', async (t) => {
  const clock = { ms: start }
  const file = join(t.testdir({ relay: {} }), 'adverts.txt')
  const data = join(t.testdirName, 'relay')
  const relay = await openRelay(t, data, clock, ['--price', 'storageGBDay=1', '--advertise', `file:${file}`])
  t.match(await relay.publish(), { advert: null, text: null, silent: /no --chain/ })
  for (const wrong of ['moon:x', 'https://x.example/list', 'irc://host', 'board:ftp://x'])
    await t.rejects(openRelay(t, data, clock, ['--advertise', wrong]), { code: 'ERR_USAGE' }, wrong)
})

t.test(
  '§12.2: the miner finds a stamp from where it is told to begin, on any number of threads, until it is stopped',
  async (t) => {
    const seen: number[] = []
    const text = 'an advert'
    const { stamp, tried } = await mine(text, {
      bits: 9,
      start: 7n,
      onProgress: (progress) => seen.push(progress.tried),
    })
    t.ok(leadingZeroBits(stampDigest(text, stamp)) >= 9)
    t.equal(Number(stamp) - 6, tried)
    t.equal(seen.at(-1), tried)
    for (let nonce = 7; nonce < Number(stamp); nonce++)
      if (leadingZeroBits(stampDigest(text, String(nonce))) >= 9) t.fail(`${nonce} was passed over`)
    // Across the point up to which it counts in numbers.
    const high = await mine(text, { bits: 6, start: 2n * 10n ** 18n - 3n })
    t.equal(BigInt(high.stamp), 2n * 10n ** 18n - 4n + BigInt(high.tried))
    const { stamp: either } = await mine(text, { bits: 6, start: 10n ** 19n - 3n, threads: 2 })
    t.match(either, /^[1-9][0-9]{18,19}$/)

    const stopping = new AbortController()
    const stopped = mine(text, { bits: 200, signal: stopping.signal })
    stopping.abort(new Error('enough'))
    await t.rejects(stopped, { message: 'enough' })
    await t.rejects(mine(text, { bits: 1, signal: stopping.signal }), { message: 'enough' })
  },
)
