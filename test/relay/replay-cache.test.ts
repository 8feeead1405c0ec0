/** What is remembered is never forgotten early: docs/protocol.md §3.3, over real HTTP. */
import t from 'tap'
import { anyonePrivateKey } from '../../market/identity.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { openRelay, start } from '../fixtures/relay.ts'
import { actor, ask, askSigned, post, postSigned, sealFor, sealRecord } from '../fixtures/wire.ts'

const quote = { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 }
const busy = { status: 503, reply: { type: 'reply', code: 'ERR_BUSY' } }

t.test('a full memory refuses what is new, and one identity holds at most a sixteenth of it', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'replay=32'])
  const holders = Array.from({ length: 16 }, () => actor())
  const old = { timestamp: start - 60_000 }
  for (const holder of holders) {
    await postSigned(relay, await sealRecord(relay, holder, actor()))
    for (let i = 0; i < 2; i += 1) {
      t.match(await post(relay.url, (await sealFor(relay, holder, quote, old)).text), { status: 200 })
    }
    if (holder === holders[0]) t.match(await ask(relay, holder, quote), busy, 'its share is used')
  }
  const stranger = actor()
  const refused = await sealFor(relay, stranger, quote)

  t.match(await post(relay.url, refused.text), busy)
  t.match(
    await ask(relay, stranger, { type: 'read', path: (await sealRecord(relay, actor(), stranger)).path }),
    busy,
  )
  t.match(
    await postSigned(relay, await sealRecord(relay, stranger, actor())),
    { result: true },
    'records need no memory',
  )
  relay.clock.ms += 60_000
  t.match(await post(relay.url, refused.text), busy, 'the others are still fresh')
  relay.clock.ms += 2000
  t.match(
    await post(relay.url, refused.text),
    { status: 200 },
    'what was refused for want of room may come again',
  )
  t.match(await post(relay.url, refused.text), { reply: { code: 'ERR_REPLAYED' } })
})

t.test('once it is half full, identities without records share by their network address', async (t) => {
  const relay = await openRelay(t, ['--open', '--trust-proxy', '--limit', 'replay=32'])
  const from = async (address: string) =>
    (await post(relay.url, (await sealFor(relay, actor(), quote)).text, { 'x-forwarded-for': address }))
      .status

  for (let i = 0; i < 17; i += 1) t.equal(await from('198.51.100.1'), 200, 'half of it and one more')
  t.equal(await from('198.51.100.2'), 200)
  t.equal(await from('198.51.100.2'), 200)
  t.equal(await from('198.51.100.2'), 503, 'fresh keys of one address share a sixteenth')
  t.equal(await from('198.51.100.3'), 200, 'another address has its own')
})

t.test('the share of key 1 counts per network address', async (t) => {
  const relay = await openRelay(t, ['--open', '--trust-proxy', '--limit', 'replay=32'])
  const anyone = new KeyWallet(anyonePrivateKey)
  const from = async (address: string) =>
    post(relay.url, (await sealFor(relay, anyone, quote)).text, { 'x-forwarded-for': address })

  for (const status of [200, 200, 503]) t.match(await from('198.51.100.1'), { status })
  for (const status of [200, 200, 503]) t.match(await from('198.51.100.2'), { status })
})

t.test('a clock set back lets no forgotten message in again', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob, { maxPulls: 9, ttl: 7200 })
  await postSigned(relay, record)
  const messages = [
    await sealFor(relay, bob, quote),
    await sealFor(relay, bob, { type: 'read', path: record.path }),
    await sealFor(relay, bob, { type: 'inventory' }),
    await sealFor(relay, alice, { type: 'prove', path: record.path, index: 0 }),
  ]
  for (const message of messages) t.match(await post(relay.url, message.text), { status: 200 })
  relay.clock.ms += 300_000
  t.match(await askSigned(relay, bob, quote), { result: {} }, 'this forgets them')

  relay.clock.ms = start
  for (const message of messages) {
    const { code } = (await post(relay.url, message.text)).reply
    t.ok(code === 'ERR_STALE' || code === 'ERR_REPLAYED', `${message.text.slice(90, 120)}: ${code}`)
  }
})
