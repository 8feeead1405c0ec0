/** docs/protocol.md §2, §6: an answer counts only when the pinned relay signed it, for us, about what we asked. */
import { join } from 'node:path'
import { ProtoWallet, PrivateKey } from '@bsv/sdk'
import t from 'tap'
import { Connection } from '../../client/wire/connection.ts'
import { fromBrc100, fromKeyWallet } from '../../client/wallet.ts'
import { featuresOf } from '../../contracts/api.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { toBase64, toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { seal } from '../../market/envelope.ts'
import { decodeRecord, type SealedRecord } from '../../market/record.ts'
import { alice, bob, identityOf, relay } from '../fixtures/keys.ts'
import { type Question, sealReply, startLyingRelay, startProxy } from '../fixtures/lying-relay.ts'
import { startTestRelay } from '../fixtures/relay.ts'

const me = fromKeyWallet(new KeyWallet(bob.privateKey))
const cursor = '0123456789abcdef.1'
const page = { result: [], cursor, more: false }
const inventory = { type: 'inventory' as const, afterTs: 0 }

/** A record from Alice to Bob. */
async function recordOf(
  recordId: string,
  options: { relay?: string; now?: number; maxPulls?: number } = {},
): Promise<SealedRecord> {
  const { relay: key = relay.identity, now = Date.now(), maxPulls } = options
  const request = {
    type: 'write' as const,
    recordId,
    ttl: 3600,
    tag: '',
    content: toBase64(new Uint8Array(100).fill(7)),
    relays: [key],
    ...(maxPulls && { maxPulls }),
  }
  return decodeRecord((await seal({ to: bob.identity, timestamp: now, request }, alice)).text)
}

const lies: Record<string, (question: Question) => Promise<string> | string> = {
  'is signed by another key': (question) => sealReply(question, page, { signer: identityOf('mallory') }),
  'answers another request': (question) => sealReply(question, page, { re: 'ab'.repeat(32) }),
  'is addressed to somebody else': (question) => sealReply(question, page, { to: alice.identity }),
  'has another form than the request has replies': (question) => sealReply(question, { result: true }),
  'has a broken signature': async (question) =>
    (await sealReply(question, page)).replace(cursor, '0123456789abcdef.2'),
  'is not canonical': async (question) => ` ${await sealReply(question, page)}`,
  'is a record nobody asked for': async () => (await recordOf('aa')).text,
  'is no JSON': () => 'hello',
}

for (const [name, lie] of Object.entries(lies)) {
  t.test(`an answer that ${name} is refused`, async (t) => {
    const address = await startLyingRelay(t, lie)

    const call = new Connection(address, me).call(inventory)

    await t.rejects(call, { code: 'ERR_UNTRUSTED' })
  })
}

t.test('an honest answer of that same relay is taken', async (t) => {
  const address = await startLyingRelay(t, (question) => sealReply(question, page))

  const { reply } = await new Connection(address, me).call(inventory)

  t.match(reply, page)
})

t.test('a read takes only the record it asked for, as its owner signed it', async (t) => {
  const wanted = await recordOf('wanted')
  const other = await recordOf('other')
  const tampered = wanted.text.replace(wanted.msg.request.content, toBase64(new Uint8Array(100).fill(8)))
  for (const text of [other.text, tampered]) {
    const address = await startLyingRelay(t, () => text)
    const read = new Connection(address, me).call({ type: 'read', path: wanted.path })
    await t.rejects(read, { code: 'ERR_UNTRUSTED' })
  }
  const address = await startLyingRelay(t, () => wanted.text)
  const { record } = await new Connection(address, me).call({ type: 'read', path: wanted.path })
  t.equal(record?.hash, wanted.hash)
})

t.test('elements of a batch are judged one by one, the batch as a whole by its signature', async (t) => {
  const wanted = await recordOf('wanted')
  const other = await recordOf('other')
  let changes = {}
  const address = await startLyingRelay(t, (question) => {
    const hashes = [...question.text.matchAll(/"path":"([^"]+)"/g)]
    t.equal(hashes.length, 2)
    const replies = [{ record: JSON.parse(wanted.text) }, { record: JSON.parse(other.text) }].map(
      (reply, index) => ({
        ...reply,
        re: elementHash(question.text, index),
      }),
    )
    return sealReply(question, { replies }, { type: 'replies', ...changes })
  })
  const connection = new Connection(address, me)
  const requests = [wanted.path, wanted.path].map((path) => ({ type: 'read' as const, path }))

  const [first, second] = await connection.callBatch(requests)
  changes = { re: 'cd'.repeat(32) }
  const forged = await connection.callBatch(requests)

  t.equal(first && 'answer' in first && first.answer.record?.hash, wanted.hash)
  t.match(second, { error: { code: 'ERR_UNTRUSTED' } })
  t.match(forged, [{ error: { code: 'ERR_UNTRUSTED' } }, { error: { code: 'ERR_UNTRUSTED' } }])
})

/** The hash of the `index`-th message of a batch of reads. */
function elementHash(batch: string, index: number): string {
  const element = JSON.stringify(JSON.parse(batch)[index])
  const { sig } = JSON.parse(element).msg
  return hashOf(element.slice('{"msg":'.length, -1).replace(`"sig":"${sig}",`, ''))
}

t.test('a refusal keeps its code and its extras, and says whether it was signed', async (t) => {
  const refusal = {
    error: 'ERR_PAYMENT_REQUIRED: pay',
    code: 'ERR_PAYMENT_REQUIRED',
    quote: { satoshis: '5' },
  }
  const signed = await startLyingRelay(t, (question) => sealReply(question, refusal))
  const plain = await startLyingRelay(t, () =>
    JSON.stringify({ status: 'error', code: 'ERR_TOO_LARGE', description: 'too large', max: 5 }),
  )

  await t.rejects(new Connection(signed, me).call(inventory), {
    code: 'ERR_PAYMENT_REQUIRED',
    signed: true,
    extras: { quote: { satoshis: '5' } },
  })
  await t.rejects(new Connection(plain, me).call(inventory), {
    code: 'ERR_TOO_LARGE',
    signed: false,
    extras: { max: 5 },
  })
})

t.test('what may pass is tried again, sealed anew', async (t) => {
  const hashes = new Set<string>()
  const address = await startLyingRelay(t, (question) => {
    hashes.add(question.hash)
    const busy = { error: 'ERR_BUSY: later', code: 'ERR_BUSY' }
    return sealReply(question, hashes.size < 3 ? busy : page)
  })

  await new Connection(address, me).call(inventory)

  t.equal(hashes.size, 3)
})

t.test('an answer without end is cut off', async (t) => {
  const address = await startLyingRelay(t, () => 'x'.repeat(17 * 1024 * 1024))

  await t.rejects(new Connection(address, me).call(inventory), { code: 'ERR_UNTRUSTED' })
})

t.test('who does not answer is unreachable', async (t) => {
  const address = { url: 'http://127.0.0.1:1', key: relay.identity }

  await t.rejects(new Connection(address, me).call(inventory, { attempts: 1 }), { code: 'ERR_UNREACHABLE' })
})

t.test('a call ends with its signal', async (t) => {
  const aborted = AbortSignal.abort(new Error('enough'))
  const address = await startLyingRelay(t, () => '')

  await t.rejects(new Connection(address, me).call(inventory, { signal: aborted }), { message: 'enough' })
})

t.test('a relay that publishes another key than the pinned one is not asked further', async (t) => {
  const address = await startLyingRelay(t, () => '', { key: alice.identity })

  await t.rejects(new Connection(address, me).info(), { code: 'ERR_UNTRUSTED' })
})

t.test('a relay without batches is asked one by one', async (t) => {
  let count = 0
  const answer = (question: Question) => {
    count += 1
    return sealReply(question, page)
  }
  const address = await startLyingRelay(t, answer, { features: [] })

  const outcomes = await new Connection(address, me).callBatch([inventory, inventory])

  t.match(outcomes, [{ answer: { reply: page } }, { answer: { reply: page } }])
  t.equal(count, 2)
})

t.test('§4.2: what a relay does not list among its features is not sent to it', async (t) => {
  const asked: string[] = []
  const answer = (question: Question) => {
    asked.push(question.request.type)
    return sealReply(question, page)
  }
  const connection = new Connection(await startLyingRelay(t, answer, { features: [] }), me)
  const record = await recordOf('aa', { maxPulls: 2 })
  const path = record.path
  const refused = [
    { type: 'store' as const, record: { msg: record.msg } },
    { type: 'listen' as const, afterTs: 0 },
    { type: 'prove' as const, path, index: 0 },
    { type: 'quote' as const, bytes: 1, ttl: 1, maxPulls: 1 },
    { ...inventory, owner: alice.identity },
    { ...inventory, detail: true },
  ]

  for (const request of refused)
    await t.rejects(connection.call(request), { code: 'ERR_UNSUPPORTED' }, request.type)
  await t.rejects(connection.write(record), { code: 'ERR_UNSUPPORTED', message: /maxPulls/ })
  const outcomes = await connection.callBatch([{ ...inventory, detail: true }])
  await connection.call(inventory)

  t.match(outcomes, [{ error: { code: 'ERR_UNSUPPORTED' } }])
  t.same(asked, ['inventory'])
  t.same(featuresOf({ type: 'store', record: { msg: record.msg } }), ['store', 'maxPulls'])
})

t.test('a lost answer to a read costs no second pull', async (t) => {
  const real = await startTestRelay(t.testdir())
  t.teardown(() => real.close())
  const record = await recordOf('once', { relay: real.key, maxPulls: 1 })
  await new Connection(real, fromKeyWallet(new KeyWallet(alice.privateKey))).write(record)
  let lose = 2
  const losing = await startProxy(t, real, (_, answer) => (lose-- > 0 ? undefined : answer))
  const connection = new Connection(losing, me)

  const first = await connection.call({ type: 'read', path: record.path })
  const second = await connection.call({ type: 'read', path: record.path })
  lose = 1
  const third = await connection.call({ type: 'read', path: record.path })
  lose = 1
  const [batched] = await connection.callBatch([{ type: 'read', path: record.path }])

  t.equal(first.record?.hash, record.hash)
  t.equal(second.record, undefined, 'the one pull is used up')
  t.equal(third.record, undefined, 'a lost null is asked for again')
  t.match(batched, { answer: { record: undefined } })
})

t.test(
  'a batch is cut to the limits of the relay and lost answers of batches are asked for again',
  async (t) => {
    const real = await startTestRelay(t.testdir(), { args: ['--open', '--limit', 'batch=2'] })
    t.teardown(() => real.close())
    let sent = 0
    const losing = await startProxy(t, real, (_, answer) => (++sent === 2 ? undefined : answer))
    const connection = new Connection(losing, me)

    const outcomes = await connection.callBatch(Array.from({ length: 5 }, () => inventory))

    t.equal(outcomes.filter((outcome) => 'answer' in outcome).length, 5)
    t.equal(sent, 4, 'three batches, one of them twice')
  },
)

t.test('the clock of a relay is followed when the relay signed it, up to ten minutes', async (t) => {
  for (const offBy of [-300_000, 300_000]) {
    const real = await startTestRelay(join(t.testdir(), String(offBy)), { now: () => Date.now() + offBy })
    t.teardown(() => real.close())
    const connection = new Connection(real, me)

    await connection.call(inventory)
    const [outcome] = await new Connection(real, me).callBatch([inventory])

    t.ok(Math.abs(connection.clock.now - Date.now() - offBy) < 5000)
    t.match(outcome, { answer: { reply: { more: false } } })
  }
  const far = await startTestRelay(join(t.testdir(), 'far'), { now: () => Date.now() + 700_000 })
  t.teardown(() => far.close())
  await t.rejects(new Connection(far, me).call(inventory), { code: 'ERR_STALE' })
})

t.test('any BRC-100 wallet will do', async (t) => {
  const real = await startTestRelay(t.testdir())
  t.teardown(() => real.close())
  const key = new PrivateKey([...bob.privateKey])
  const wallet = await fromBrc100(new ProtoWallet(key) as never)

  const { reply } = await new Connection(real, wallet).call(inventory)
  const name = { recordId: 'x', counterparty: alice.identity }
  const sealed = await wallet.encrypt(new Uint8Array([1, 2, 3]), name)

  t.equal(wallet.identity, bob.identity)
  t.match(reply, { result: [] })
  t.same([...(await me.decrypt(sealed, name))], [1, 2, 3])
  t.same([...(await wallet.decrypt(sealed, name))], [1, 2, 3])
})

t.test('a BRC-100 wallet that fails is told from a ciphertext that does not decrypt', async (t) => {
  const proto = new ProtoWallet(new PrivateKey([...bob.privateKey]))
  const name = { recordId: 'x', counterparty: alice.identity }
  const sealed = await me.encrypt(new Uint8Array([1, 2, 3]), name)
  const whole = await fromBrc100(proto as never)
  const locked = await fromBrc100({
    getPublicKey: proto.getPublicKey.bind(proto),
    encrypt: proto.encrypt.bind(proto),
    decrypt: () => Promise.reject(new Error('locked')),
  } as never)

  await t.rejects(async () => whole.decrypt(sealed.fill(0, 40, 41), name), { code: 'ERR_MALFORMED' })
  await t.rejects(async () => locked.decrypt(sealed, name), { message: 'locked' })
})

const hashOf = (text: string): string => toHex(sha256(text))
