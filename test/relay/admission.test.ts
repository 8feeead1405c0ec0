/** The checks of docs/protocol.md §3.1, in their order, over real HTTP. */
import t from 'tap'
import { seal } from '../../market/envelope.ts'
import { ANYONE_KEY, anyonePrivateKey } from '../../market/identity.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { Gate } from '../../relay/admission.ts'
import { Limits } from '../../relay/limits.ts'
import { openRelay, start } from '../fixtures/relay.ts'
import { actor, ask, askSigned, post, postSigned, sealFor, sealRecord } from '../fixtures/wire.ts'

t.test('every refusal before the signature is plain and unsigned', async (t) => {
  const relay = await openRelay(t)
  const alice = actor()
  const good = (await sealFor(relay, alice, { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 })).text
  const elsewhere = await sealFor(
    relay,
    alice,
    { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 },
    { to: alice.identity },
  )
  const record = await sealRecord(relay, alice, actor(), { relays: [alice.identity] })
  const cases: [string, string | Uint8Array, number, string][] = [
    ['an empty body', '', 400, 'ERR_MALFORMED'],
    ['no JSON', '{', 400, 'ERR_MALFORMED'],
    ['invalid UTF-8', Buffer.concat([Buffer.from(good), Buffer.of(0xff)]), 400, 'ERR_MALFORMED'],
    ['a byte order mark', `\ufeff${good}`, 400, 'ERR_MALFORMED'],
    ['white space', ` ${good}`, 400, 'ERR_MALFORMED'],
    ['null', 'null', 400, 'ERR_MALFORMED'],
    ['an unknown field', good.replace('"bytes":1', '"bytes":1,"by":2'), 400, 'ERR_MALFORMED'],
    ['an unknown request', good.replace('"type":"quote"', '"type":"quota"'), 400, 'ERR_MALFORMED'],
    ['a fraction', good.replace('"bytes":1', '"bytes":1.5'), 400, 'ERR_MALFORMED'],
    ['another relay', elsewhere.text, 401, 'ERR_WRONG_RELAY'],
    ['a record that does not name this relay', record.text, 401, 'ERR_WRONG_RELAY'],
    ['another content', good.replace('"bytes":1', '"bytes":2'), 401, 'ERR_BAD_SIGNATURE'],
    [
      'a sender that is no point',
      good.replace(alice.identity, `02${'f'.repeat(64)}`),
      401,
      'ERR_BAD_SIGNATURE',
    ],
    ['an empty batch', '[]', 400, 'ERR_MALFORMED'],
    ['a batch of nobody', '[1,{}]', 400, 'ERR_MALFORMED'],
  ]
  for (const [name, text, status, code] of cases) {
    const answer = await post(relay.url, text)
    t.match(answer, { status, body: { status: 'error', code } }, name)
    t.notOk('msg' in answer.body, `${name}: nothing signed`)
  }
})

t.test(
  'a message is fresh from 120 s ago to 10 s ahead; else the answer is signed and has the time',
  async (t) => {
    const relay = await openRelay(t)
    const alice = actor()
    const quote = { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 }
    for (const [timestamp, fresh] of [
      [start - 120_000, true],
      [start - 120_001, false],
      [start + 10_000, true],
      [start + 10_001, false],
    ] as const) {
      const message = await sealFor(relay, alice, quote, { timestamp })
      const answer = await post(relay.url, message.text)
      if (fresh) t.match(answer, { status: 200, reply: { re: message.hash } })
      else
        t.match(answer, {
          status: 401,
          reply: { type: 'reply', re: message.hash, code: 'ERR_STALE', time: start },
        })
    }
  },
)

t.test('after a restore, nothing that was signed before it is answered, whatever it is', async (t) => {
  const now = start + 60_000
  const [alice, bob, relay] = [actor(), actor(), actor()]
  const target = { url: '', key: relay.identity, now: () => now }
  const gate = new Gate({ relay: relay.identity, limits: Limits.parse({}), restoredAt: start })
  const admit = ({ text }: { text: string }) =>
    gate.admit(JSON.parse(text), text, { address: '192.0.2.1', now })
  const old = JSON.parse((await sealRecord(target, alice, bob, { timestamp: start - 1 })).text)
  const messages: [string, (timestamp: number) => Promise<{ text: string; hash: string }>][] = [
    ['a read', (timestamp) => sealFor(target, alice, { type: 'inventory' }, { timestamp })],
    ['a record', (timestamp) => sealRecord(target, alice, bob, { timestamp })],
    ['a store', (timestamp) => sealFor(target, alice, { type: 'store', record: old }, { timestamp })],
  ]
  for (const [name, sealAt] of messages) {
    const [before, after] = [await sealAt(start - 1), await sealAt(start)]
    t.match(
      admit(before),
      { sender: { hash: before.hash }, error: { code: 'ERR_STALE', extras: { time: now } } },
      `${name} from before`,
    )
    t.match(admit(after), { sender: { hash: after.hash }, admitted: Object }, `${name} from after`)
  }
})

t.test('signed ERR_STALE is rationed per address; beyond it the refusal is plain', async (t) => {
  const args = ['--open', '--limit', 'staleRepliesPerMinute=2']
  const relay = await openRelay(t, args)
  const stale = async () =>
    post(relay.url, (await sealFor(relay, actor(), { type: 'delete', recordId: 'x' }, { timestamp: 1 })).text)

  const answers = [await stale(), await stale(), await stale()]

  t.same(
    answers.map(({ body, reply }) => ['msg' in body, reply.code]),
    [
      [true, 'ERR_STALE'],
      [true, 'ERR_STALE'],
      [false, 'ERR_STALE'],
    ],
  )
})

t.test('failed verifications are limited per address, and a good message is then refused too', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'failuresPerMinute=3'])
  const quote = { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 }
  const forged = (await sealFor(relay, actor(), quote)).text.replace('"bytes":1', '"bytes":2')
  for (let i = 0; i < 3; i += 1)
    t.match(await post(relay.url, forged), { reply: { code: 'ERR_BAD_SIGNATURE' } })

  t.match(await ask(relay, actor(), quote), {
    status: 429,
    body: { code: 'ERR_LIMIT', retryAfterMs: Number },
  })
  relay.clock.ms += 60_000
  t.match(await ask(relay, actor(), quote), { status: 200 }, 'the next minute is open again')
})

t.test('key 1 may only look', async (t) => {
  const relay = await openRelay(t)
  const anyone = new KeyWallet(anyonePrivateKey)
  const alice = actor()
  const path = `/${alice.identity}/outbox/${ANYONE_KEY}/x`
  const record = await sealRecord(relay, anyone, alice)

  const forbidden = { status: 403, reply: { code: 'ERR_FORBIDDEN' } }
  t.match(await post(relay.url, record.text), forbidden, 'write')
  t.match(await ask(relay, anyone, { type: 'delete', recordId: 'x' }), forbidden, 'delete')
  t.match(await ask(relay, anyone, { type: 'prove', path, index: 0 }), forbidden, 'prove')
  t.match(await ask(relay, anyone, { type: 'store', record: JSON.parse(record.text) }), forbidden, 'store')
  t.match(await ask(relay, anyone, { type: 'read', path }), { status: 200, reply: { result: null } })
  t.match(await ask(relay, anyone, { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 }), { status: 200 })
  t.match(await ask(relay, anyone, { type: 'inventory' }), { status: 400, reply: { code: 'ERR_MALFORMED' } })
  t.match(await ask(relay, anyone, { type: 'inventory', owner: alice.identity }), {
    status: 200,
    reply: { result: [] },
  })
})

t.test('content that is not the one base64 spelling of its bytes is refused', async (t) => {
  const relay = await openRelay(t)
  const alice = actor()
  for (const content of ['QQ', 'QR==', 'QQ=\n', 'Q-==', '']) {
    const request = { type: 'write', recordId: 'x', ttl: 1, tag: '', content, relays: [relay.key] }
    const sealed = await seal({ to: actor().identity, timestamp: start, request }, alice)
    t.match(
      await post(relay.url, sealed.text),
      { status: 400, body: { code: 'ERR_MALFORMED' } },
      JSON.stringify(content),
    )
  }
})

t.test('only whom the operator allows may write; everybody may read', async (t) => {
  const [alice, bob] = [actor(), actor()]
  const relay = await openRelay(t, ['--allow', alice.identity])
  const refused = await sealRecord(relay, bob, alice)
  const record = await sealRecord(relay, alice, bob)

  t.match(await postSigned(relay, refused), { code: 'ERR_NO_ACCOUNT' })
  const store = await sealFor(relay, bob, { type: 'store', record: JSON.parse(refused.text) })
  t.match(await post(relay.url, store.text), { status: 403, reply: { code: 'ERR_NO_ACCOUNT' } })
  t.match(await postSigned(relay, record), { result: true })
  t.match(await askSigned(relay, bob, { type: 'inventory' }), { result: [record.path] })
  t.equal((await ask(relay, bob, { type: 'read', path: record.path })).text, record.text)
  t.match(await askSigned(relay, bob, { type: 'delete', recordId: 'x' }), { result: true, receipt: null })
})
