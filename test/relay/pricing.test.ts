/** A quote is never exceeded: not over a restart, not over a restore, not by two who set prices at once. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { freePrices } from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import { Pricing } from '../../relay/pricing.ts'
import { restoreBackup } from '../../relay/store/restore.ts'
import { faultyDisk } from '../fixtures/database.ts'
import { clock as clockOf, openStore } from '../fixtures/records.ts'
import { start, startTestRelay } from '../fixtures/relay.ts'
import { type Actor, actor, askSigned, postSigned, sealRecord } from '../fixtures/wire.ts'

const dear = ['--price', 'storageGBDay=4000000']
const noticeMs = 660_000
const wish = { type: 'quote', bytes: 100_000, ttl: 86_400, maxPulls: 4 }

/** Relays on one clock, which the test moves. */
function timeline(t: Test) {
  const clock = { ms: start }
  const now = () => clock.ms
  const open = async (name: string, args: string[]) => {
    const relay = await startTestRelay(join(t.testdirName, name), { now, args })
    let isOpen = true
    const close = async () => {
      if (isOpen) await relay.close()
      isOpen = false
    }
    t.teardown(close)
    return { ...relay, close, now }
  }
  const write = async (relay: Awaited<ReturnType<typeof open>>, from: Actor) =>
    postSigned(relay, await sealRecord(relay, from, actor(), { content: Buffer.alloc(100_000), ttl: 86_400 }))
  t.testdir()
  return { clock, open, write }
}

t.test('who was quoted nothing is charged nothing before that quote ends, restarts included', async (t) => {
  const { clock, open, write } = timeline(t)
  for (const [name, before, sold] of [
    ['open', ['--open'], dear],
    ['closed', [], dear],
    ['allowed', ['--allow', actor().identity], dear],
    ['open again', ['--open'], []],
  ] as const) {
    const alice = actor()
    if (sold.length === 0) await (await open(name, dear)).close()
    const relay = await open(name, [...before])
    await relay.operator.grant({ key: alice.identity, satoshi: 1_000_000 })
    const { result: quote } = await askSigned(relay, alice, wish)
    t.equal(quote.satoshis, '0', name)
    await relay.close()

    clock.ms += 1000
    const selling = await open(name, [...sold])
    const early = await write(selling, alice)
    t.match(early, { code: 'ERR_BUSY', retryAfterMs: noticeMs }, name)
    clock.ms += early.retryAfterMs - 1
    t.ok(clock.ms > quote.expires)
    t.match(await write(selling, alice), { code: 'ERR_BUSY', retryAfterMs: 1 }, name)
    clock.ms += 1
    t.match(await write(selling, alice), { result: true, receipt: { charge: { reserved: '403' } } }, name)
    await selling.close()
  }
})

t.test('a new relay sells at once', async (t) => {
  const { open, write } = timeline(t)
  const relay = await open('new', dear)
  const alice = actor()
  await relay.operator.grant({ key: alice.identity, satoshi: 1_000_000 })

  t.match(await write(relay, alice), { receipt: { charge: { reserved: '403' } } })
})

t.test('a restored relay charges nobody before the quotes it has forgotten have ended', async (t) => {
  const { clock, open, write } = timeline(t)
  const [alice, friend] = [actor(), actor()]
  const args = [...dear, '--allow', friend.identity]
  const relay = await open('relay', args)
  await relay.operator.grant({ key: alice.identity, satoshi: 1_000_000 })
  const backup = join(t.testdirName, 'backup')
  await relay.operator.backup({ directory: backup }, new AbortController().signal)
  await relay.operator['set-prices']({ storageGBDay: 1000 })
  const { result: quote } = await askSigned(relay, alice, wish)
  t.equal(quote.satoshis, '1')
  await relay.close()

  await restoreBackup({ backup, data: join(t.testdirName, 'restored'), now: clock.ms })
  const restored = await open('restored', args)
  clock.ms += 1000

  t.match(await write(restored, alice), { code: 'ERR_BUSY', retryAfterMs: 599_000 })
  t.match(await write(restored, friend), { result: true }, 'who writes free of charge still does')
  clock.ms += 599_000
  t.ok(clock.ms >= quote.expires)
  t.match(await write(restored, alice), { receipt: { charge: { reserved: '403' } } })
})

const at = (storageGBDay: number): Prices => ({ ...freePrices, storageGBDay })

t.test('a rise that is ordered while a fall is made durable rises over the lower price', async (t) => {
  const now = clockOf()
  const disk = faultyDisk()
  const store = await openStore(t, { directory: t.testdir(), now, openDatabase: disk.open })
  const pricing = await Pricing.open(store, { configured: at(4000), open: false })

  const { reached, release } = disk.hold()
  const fall = pricing.set({ storageGBDay: 100 })
  await reached
  const rise = pricing.set({ storageGBDay: 9000 })
  t.same(pricing.at(now.ms), at(4000), 'a fall holds when it is durable')
  release()

  t.equal(await fall, now.ms)
  t.equal(await rise, now.ms + noticeMs)
  t.same(pricing.at(now.ms), at(100))
  t.same(pricing.next(now.ms), { prices: at(9000), from: now.ms + noticeMs })
})

t.test('two changes at once are both heeded', async (t) => {
  const now = clockOf()
  const store = await openStore(t, { directory: t.testdir(), now })
  const pricing = await Pricing.open(store, { configured: at(4000), open: false })

  await Promise.all([
    pricing.set({ egressGB: 1 }),
    pricing.set({ ingressGB: 2 }),
    pricing.set({ storageGBDay: 3 }),
  ])

  t.same(pricing.next(now.ms)?.prices, { storageGBDay: 3, egressGB: 1, ingressGB: 2 })
})

t.test('a clock that is set back a little does not bring former prices back', async (t) => {
  const store = await openStore(t, { directory: t.testdir(), now: () => start })
  const pricing = await Pricing.open(store, {
    open: false,
    configured: { storageGBDay: 9, egressGB: 1, ingressGB: 1 },
  })
  const from = await pricing.set({ storageGBDay: 1, egressGB: 5 })
  t.equal(pricing.at(from - 1).storageGBDay, 9, 'a change with a rise in it has notice')
  const quoted = pricing.at(from)
  t.equal(quoted.storageGBDay, 1)
  t.same(pricing.at(from - 180_000), quoted)
  t.equal(pricing.next(from - 180_000), null)
  t.equal(pricing.at(from - 7_200_000).storageGBDay, 9, 'by hours: it was wrong before')
})
