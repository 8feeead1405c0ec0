/** docs/protocol.md §14.4, the receiving side: what hosts bring, and what they would like to be believed. */
import { randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parsePattern } from '../../contracts/overlay/box-pattern.ts'
import { propagationBody, type SignedMessage } from '../../contracts/overlay/propagation.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { isLinkageProof } from '../../contracts/wallet/linkage.ts'
import { fromHex, toHex, toUtf8 } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { ANYONE_KEY, anyonePrivateKey, childPublicKey, invoiceNumber } from '../../market/identity.ts'
import { verify } from '../../market/secp256k1.ts'
import { decodeContent } from '../../relay/boxes/content.ts'
import { bodyOfSigned } from '../../relay/phip/signed-request.ts'
import { storeDirectory } from '../../relay/data-directory.ts'
import { contentOfBody } from '../../relay/store/body.ts'
import { bodyKey } from '../../relay/store/keys.ts'
import { Store } from '../../relay/store/store.ts'
import { type Field, requestPreimage } from '../../relay/web/preimage.ts'
import { forged, type Known } from '../fixtures/forgery.ts'
import { type BoxUser, boxUserOf, openBoxScene, told } from '../fixtures/boxes.ts'
import { diceOf } from '../fixtures/dice.ts'
import { start, startTestRelay } from '../fixtures/relay.ts'
import { keysOf } from '../fixtures/wallet.ts'
import { shakeHands, signRequest } from '../fixtures/web-auth.ts'
import { json, type WebAnswer, webClient } from '../fixtures/web-files.ts'
import { askSigned } from '../fixtures/wire.ts'

t.setTimeout(60_000)
// What the sdk tells of its payments.
for (const method of ['warn', 'info'] as const) t.capture(console, method)

const [alice, bob, carol, eve] = ['alice', 'bob', 'carol', 'eve'].map(keysOf) as [
  KeyWallet,
  KeyWallet,
  KeyWallet,
  KeyWallet,
]
const anyone = new KeyWallet(anyonePrivateKey)
/** Hosts that only say they are. */
const [hostA, hostC] = ['host a', 'host c'].map(keysOf) as [KeyWallet, KeyWallet]

const limited = (...limits: string[]) => limits.flatMap((limit) => ['--limit', limit])
const generous = limited('failuresPerMinute=100000', 'boxRequestsPerMinute=100000')
const home = ['--open', '--allow', bob.identity, '--allow', carol.identity]

/** Where Bob and Carol live. */
async function openB(t: Test, args: readonly string[] = generous, folder = 'b') {
  const data = join(t.testdirName, folder)
  const clock = { ms: start }
  const open = () => startTestRelay(data, { args: [...home, ...args], now: () => clock.ms })
  let relay = await open()
  t.teardown(() => relay.close())
  const host = async (keys: KeyWallet) => hostOf(relay, keys)
  const inbox = async (keys = bob) => told(await (await boxUserOf(relay, keys)).list())
  return {
    ...{ data, clock, host },
    inbox,
    relay: () => relay,
    user: (keys: KeyWallet) => boxUserOf(relay, keys),
    close: () => relay.close(),
    async restart() {
      await relay.close()
      relay = await open()
    },
  }
}

interface Plan {
  readonly method?: string
  readonly url?: string
  readonly fields?: readonly Field[]
  readonly protocol?: SignedMessage['protocol']
}

/** What somebody signs for a host: any bytes. */
function signedFor(
  host: KeyWallet,
  sender: KeyWallet,
  signed: Uint8Array,
  protocol: SignedMessage['protocol'] = 'brc104',
): SignedMessage {
  const [nonce, yourNonce] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')]
  const keys = sender.signatures({
    protocolID: [2, protocol === 'brc104' ? 'auth message signature' : 'authrite message signature'],
    keyID: `${nonce} ${yourNonce}`,
    counterparty: host.identity,
  })
  return { protocol, signature: toHex(keys.sign(sha256(signed))), nonce, yourNonce, signed }
}

/** A whole request as BRC-104 has it, or its body alone. */
function requestBytes(
  body: string,
  { method = 'POST', url = '/sendMessage', ...plan }: Plan = {},
): Uint8Array {
  const { fields = [['content-type', 'application/json']], protocol } = plan
  if (protocol === 'brc31') return toUtf8(body)
  return requestPreimage({ requestId: randomBytes(32), method, url, fields }, toUtf8(body))
}

const words = (message: object = {}, payment?: unknown): string =>
  JSON.stringify({
    message: { recipient: bob.identity, messageBox: 'inbox', messageId: 'one', body: 'hello', ...message },
    ...(payment !== undefined && { payment }),
  })

/** What Alice says to Bob by way of a host. */
const said = (host: KeyWallet, message: object = {}, plan: Plan = {}, sender = alice): SignedMessage =>
  signedFor(host, sender, requestBytes(words(message), plan), plan.protocol)

const named = { sender: alice.identity, recipient: bob.identity, messageId: 'one' }
type Body = Record<string, any>
const bodyOf = (host: KeyWallet, message: SignedMessage, brought: Partial<typeof named> = {}): Body =>
  JSON.parse(propagationBody(host, { ...named, ...brought }, message))

interface TestHost extends BoxUser {
  bring(message: SignedMessage, brought?: Partial<typeof named>): Promise<WebAnswer>
  push(body: Body | string): Promise<WebAnswer>
}

async function hostOf(relay: { url: string }, keys: KeyWallet): Promise<TestHost> {
  const user = await boxUserOf(relay, keys)
  const push = (body: Body | string) => user.post('/propagateMessage', body)
  return { ...user, push, bring: (message, brought) => push(bodyOf(keys, message, brought)) }
}

const success = { status: 200, body: { status: 'success' } }
const refusal = (status: number, code: string) => ({ status, body: { status: 'error', code } })

t.test('what is brought is stored once, as what its sender said', async (t) => {
  t.testdir()
  const b = await openB(t)
  const a = await b.host(hostA)
  const one = said(hostA)
  const first = await a.bring(one)
  t.match(first, success)
  t.same(await b.inbox(), ['one "hello"'])
  const user = await b.user(bob)
  t.match((await user.list()).body.messages, [{ sender: alice.identity, messageId: 'one' }])

  await t.test('again by the same host: the same answer, and nothing', async (t) => {
    t.same((await a.bring(one)).body, first.body)
    await user.ack('one')
    t.same((await a.bring(one)).body, first.body)
    t.same(await b.inbox(), [], 'acknowledged is acknowledged')
    await b.restart()
    t.same((await (await b.host(hostA)).bring(one)).body, first.body)
    t.same(await b.inbox(), [], 'after a restart too')
    const back = await b.host(hostA)
    const two = said(hostA, { messageId: 'two' })
    const both = await Promise.all([back.bring(two), back.bring(two), back.bring(two)])
    for (const each of both) t.same(each.body, first.body)
    t.same(await b.inbox(), ['two "hello"'], 'at once')
    t.match(
      await (await b.host(hostC)).bring(two),
      refusal(400, 'ERR_SIGNATURE_INVALID'),
      'by another host, with its own proof',
    )
    t.match(
      await (await b.host(hostC)).push(bodyOf(hostA, two)),
      refusal(400, 'ERR_SENDER_LINKAGE_VERIFICATION_FAILED'),
      'and with that of the first',
    )
    await (await b.user(bob)).ack('two')
  })

  const host = await b.host(hostA)
  await t.test('in every dialect, and with and without a name', async (t) => {
    t.match(await host.bring(said(hostA, { messageId: 'authrite' }, { protocol: 'brc31' })), success)
    t.match(
      await host.bring(said(hostA, { messageId: 'below' }, { url: '/relay/sendMessage' })),
      success,
      'a relay below a path',
    )
    const nameless = said(hostA, { messageId: undefined })
    t.match(await host.bring(nameless, { messageId: 'of the host' }), success)
    t.match(await host.bring(nameless, { messageId: 'another' }), success, 'the same again')
    const multipart = '--b\r\ncontent-disposition: form-data; name="x-bsv-payment"\r\n\r\n{}\r\n'
    const part = `--b\r\ncontent-disposition: form-data; name="body"\r\n\r\n${words({ messageId: 'paid' })}`
    const type = [['content-type', 'multipart/form-data']] as const
    t.match(
      await host.bring(
        signedFor(hostA, alice, requestBytes(`${multipart}${part}\r\n--b--\r\n`, { fields: type })),
      ),
      success,
      'what came with a payment for its host',
    )
    t.same(await b.inbox(), ['authrite "hello"', 'below "hello"', 'of the host "hello"', 'paid "hello"'])
    const { recipient: _, messageId: __, ...unnamed } = bodyOf(hostA, said(hostA, { messageId: undefined }))
    t.match(await host.push(unnamed), success)
    t.match(await host.push(unnamed), success)
    const [made] = (await b.inbox()).slice(-1)
    t.match(made, /^[0-9a-f]{32} "hello"$/, 'named after what was signed')
    t.equal((await b.inbox()).length, 5)
    const ids = (await (await b.user(bob)).list()).body.messages.map(({ messageId }: any) => messageId)
    await (await b.user(bob)).ack(...ids)
  })

  await t.test('several recipients, of whom those who live here get it', async (t) => {
    const recipients = [bob.identity, carol.identity, eve.identity]
    const many = said(hostA, { recipient: undefined, recipients, messageId: ['b', 'c', 'e'] })
    t.match(await host.bring(many, { recipient: carol.identity }), success)
    t.same([await b.inbox(carol), await b.inbox()], [['c "hello"'], []])
    const { recipient: _, ...all } = bodyOf(hostA, many)
    t.match(await host.push(all), success)
    t.same([await b.inbox(carol), await b.inbox(eve)], [['c "hello"'], []])
    t.same(await b.inbox(), ['b "hello"'])
    t.match(await host.bring(many, { recipient: eve.identity }), refusal(404, 'ERR_UNKNOWN_RECIPIENT'))
    await (await b.user(bob)).ack('b')
    await (await b.user(carol)).ack('c')
  })

  await t.test('ids clash as they do for those who live here', async (t) => {
    const direct = await b.user(alice)
    const c = await b.host(hostC)
    t.equal((await direct.send({ key: bob.identity }, { messageId: 'same' })).status, 200)
    t.match(await host.bring(said(hostA, { messageId: 'same' })), success)
    t.match(await c.bring(said(hostC, { messageId: 'same' })), success)
    t.same(await b.inbox(), ['same "hello"'], 'directly, and by two hosts')
    t.match(
      await c.bring(said(hostC, { messageId: 'same', body: 'other' })),
      refusal(400, 'ERR_DUPLICATE_MESSAGE'),
    )
    t.match(await host.bring(said(hostA, { messageId: 'by hosts' })), success)
    t.match(await c.bring(said(hostC, { messageId: 'by hosts' })), success)
    t.match(await direct.send({ key: bob.identity }, { messageId: 'by hosts' }), success)
    t.match(await direct.send({ key: bob.identity }, { messageId: 'by hosts', body: 'other' }), {
      body: { code: 'ERR_DUPLICATE_MESSAGE' },
    })
    t.match(
      await host.bring(said(hostA, { messageId: 'same', body: 'mine' }, {}, eve), { sender: eve.identity }),
      success,
    )
    t.same(await b.inbox(), ['same "hello"', 'by hosts "hello"', 'same "mine"'], 'ids are of their senders')
    t.same((await (await b.user(bob)).ack('same', 'by hosts')).body, { status: 'success', acknowledged: 3 })
    t.match(await c.bring(said(hostC, { messageId: 'same', body: 'other' })), success, 'it is free again')
    await (await b.user(bob)).ack('same')
  })

  await t.test('what a recipient does not want is refused', async (t) => {
    const user = await b.user(bob)
    const blocked = { messageBox: 'inbox', sender: alice.identity, recipientFee: -1 }
    await user.post('/permissions/set', blocked)
    t.match(await host.bring(said(hostA, { messageId: 'unwanted' })), refusal(403, 'ERR_DELIVERY_BLOCKED'))
    await user.post('/permissions/set', { ...blocked, recipientFee: 0 })
    t.same(await b.inbox(), [])
  })

  await t.test('what is kept proves itself to others', async (t) => {
    const message = said(hostA, { messageId: 'evidence' })
    const body = bodyOf(hostA, message)
    t.match(await host.push(body), success)
    await b.close()
    const store = await Store.open({ directory: storeDirectory(b.data), now: () => start })
    t.teardown(() => store.close())
    const view = { inbox: bob.identity }
    const { entries } = await store.inventory({ view, after: 0, limit: 10 })
    t.equal(entries.length, 1)
    t.match(entries[0]!.path, new RegExp(`^/${hostA.identity}/`), 'the record is that of its host')
    const { proof, signed } = decodeContent(contentOfBody(store.get(bodyKey(entries[0]!.place))!))
    t.match(proof, { protocol: 'brc104', host: hostA.identity, digest: toHex(sha256(signed)) })
    const { nonce, yourNonce, signature, host: by, linkage } = proof!
    const shared = fromHex(linkage!.shared)
    t.ok(isLinkageProof({ prover: by!, counterparty: alice.identity, shared }, fromHex(linkage!.proof)))
    const invoice = invoiceNumber([2, 'auth message signature'], `${nonce} ${yourNonce}`)
    const key = childPublicKey(fromHex(alice.identity), shared, invoice)
    t.ok(verify(fromHex(signature), sha256(signed), key))
    t.match(bodyOfSigned(signed, 'brc104')?.toString(), words({ messageId: 'evidence' }))
  })
})

/** The least that refuses a body that is taken as it is. */
type Forgery = readonly [what: string, code: string, forge: (body: Body) => Body]

const flipped = (hex: string, at: number): string => {
  const bytes = fromHex(hex)
  bytes[at]! ^= 1
  return toHex(bytes)
}

const plainOf = ({ originalSender, keyLinkage, signedMessage, senderSignature }: Body): Body => ({
  ...{ originalSender, keyLinkage, signedMessage, senderSignature },
})

t.test('what a host invents', async (t) => {
  const plainArgs = [...generous, '--plain-phip', '--phip-deny', hostC.identity]
  t.testdir()
  const [b, plain] = await Promise.all([openB(t), openB(t, plainArgs, 'plain')])
  const a = await b.host(hostA)
  const noLink = 'ERR_SENDER_LINKAGE_VERIFICATION_FAILED'

  await t.test('is refused, whatever of it is forged', async (t) => {
    const other = bodyOf(hostA, said(hostA, { messageId: 'two' }))
    const forgeries: Forgery[] = [
      ['another sender', noLink, (body) => ({ ...body, originalSender: eve.identity })],
      ['itself as sender', noLink, (body) => ({ ...body, originalSender: hostA.identity })],
      ['no point as sender', noLink, (body) => ({ ...body, originalSender: `02${'f'.repeat(64)}` })],
      [
        'signature',
        'ERR_SIGNATURE_INVALID',
        ({ ...body }) => ({ ...body, senderSignature: other.senderSignature }),
      ],
      ['words', 'ERR_SIGNATURE_INVALID', (body) => ({ ...body, signedMessage: other.signedMessage })],
      ['no signature', 'ERR_SIGNATURE_INVALID', (body) => ({ ...body, senderSignature: '' })],
      ['nonce', noLink, (body) => ({ ...body, nonce: other.nonce })],
      [
        'nonces the wrong way round',
        noLink,
        (body) => ({ ...body, nonce: body.yourNonce, yourNonce: body.nonce }),
      ],
      ['protocol', noLink, (body) => ({ ...body, protocol: 'brc31' })],
      ['offset', noLink, (body) => ({ ...body, keyLinkage: other.keyLinkage })],
      ['offset of nothing', noLink, (body) => ({ ...body, keyLinkage: '00'.repeat(32) })],
      ['point', noLink, (body) => ({ ...body, sharedSecret: bob.identity })],
      ['no point', noLink, (body) => ({ ...body, sharedSecret: '00'.repeat(33) })],
      ...[0, 20, 40, 97].map(
        (at): Forgery => [
          `proof, byte ${at}`,
          noLink,
          (body) => ({ ...body, linkageProof: flipped(body.linkageProof, at) }),
        ],
      ),
      ['half a proof', 'ERR_INVALID_REQUEST', ({ linkageProof: _, ...body }) => body],
      [
        'half a signature',
        'ERR_SIGNATURE_INVALID',
        (body) => ({ ...body, senderSignature: body.senderSignature.slice(0, 70) }),
      ],
      ['no sender', 'ERR_INVALID_REQUEST', ({ originalSender: _, ...body }) => body],
      ['no words', 'ERR_INVALID_REQUEST', ({ signedMessage: _, ...body }) => body],
      ['a recipient who is none', 'ERR_INVALID_REQUEST', (body) => ({ ...body, recipient: 'bob' })],
      [
        'numbers that are no bytes',
        'ERR_INVALID_REQUEST',
        (body) => ({ ...body, senderSignature: [1, 2 ** 32] }),
      ],
    ]
    for (const [what, code, forge] of forgeries)
      t.match(await a.push(forge(bodyOf(hostA, said(hostA)))), refusal(400, code), what)
    t.match(
      await a.bring(said(hostA), { recipient: carol.identity }),
      refusal(404, 'ERR_UNKNOWN_RECIPIENT'),
      'a recipient whom the sender did not name',
    )
    t.match(
      await a.bring(said(hostA, { recipient: eve.identity }), { recipient: eve.identity }),
      refusal(404, 'ERR_UNKNOWN_RECIPIENT'),
      'a recipient who lives elsewhere',
    )
    t.match(
      await a.bring(said(hostA, {}, {}, anyone), { sender: ANYONE_KEY }),
      refusal(400, noLink),
      'the key that everybody has',
    )
    const unnamed = said(hostA, { messageId: undefined })
    for (const messageId of ['', ' ', 'x'.repeat(257), 'a\u0000b'])
      t.match(
        await a.bring(unnamed, { messageId }),
        refusal(400, 'ERR_INVALID_MESSAGEID'),
        'an id that is none',
      )
    t.match(await a.push('[]'), refusal(400, 'ERR_INVALID_REQUEST'))
    t.match(await a.push('{'), { status: 400, body: { code: 'ERR_MALFORMED' } })
    t.match(await a.ask('POST', '/propagateMessage'), { status: 400, body: { code: 'ERR_MALFORMED' } })
    t.same(await b.inbox(), [])
    const unsigned = await fetch(`${b.relay().url}/propagateMessage`, {
      ...{ method: 'POST', headers: json, body: JSON.stringify(bodyOf(hostA, said(hostA))) },
    })
    t.equal(unsigned.status, 401)
  })

  await t.test('what its sender signed for something else is no message', async (t) => {
    const good = requestBytes(words())
    const length = good.length
    const with_ = (plan: Plan) => requestBytes(words(), plan)
    const nested = (depth: number) =>
      `{"message":{"recipient":"${bob.identity}","messageBox":"inbox","messageId":"one","body":${'['.repeat(depth)}${']'.repeat(depth)}}}`
    const cases: [string, Uint8Array, string][] = [
      ['another path', with_({ url: '/permissions/set' }), 'ERR_INVALID_SIGNED_MESSAGE'],
      ['a path behind it', with_({ url: '/sendMessage/x' }), 'ERR_INVALID_SIGNED_MESSAGE'],
      ['GET', with_({ method: 'GET' }), 'ERR_INVALID_SIGNED_MESSAGE'],
      ['a query', with_({ url: '/sendMessage?a=b' }), 'ERR_INVALID_SIGNED_MESSAGE'],
      ['no body', requestBytes(''), 'ERR_INVALID_SIGNED_MESSAGE'],
      ...[0, 31, 32, 33, 40, 60, length - 1].map((end): [string, Uint8Array, string] => [
        `${end} bytes of ${length}`,
        good.subarray(0, end),
        'ERR_INVALID_SIGNED_MESSAGE',
      ]),
      ['a byte more', Buffer.concat([good, Buffer.alloc(1)]), 'ERR_INVALID_SIGNED_MESSAGE'],
      ['its body alone', toUtf8(words()), 'ERR_INVALID_SIGNED_MESSAGE'],
      ['noise', sha256('noise'), 'ERR_INVALID_SIGNED_MESSAGE'],
      [
        'endless fields',
        Buffer.concat([good.subarray(0, 49), Buffer.alloc(2000, 0xfe)]),
        'ERR_INVALID_SIGNED_MESSAGE',
      ],
      [
        'another form',
        with_({ fields: [['content-type', 'multipart/form-data']] }),
        'ERR_INVALID_SIGNED_MESSAGE',
      ],
      ['no JSON', requestBytes('{'), 'ERR_MALFORMED'],
      [
        'no UTF-8',
        requestPreimage(
          { requestId: sha256('id'), method: 'POST', url: '/sendMessage', fields: [] },
          Buffer.from('ff', 'hex'),
        ),
        'ERR_MALFORMED',
      ],
      ['a list', requestBytes('[]'), 'ERR_MESSAGE_REQUIRED'],
      ['lists in lists', requestBytes(nested(200_000)), 'ERR_MALFORMED'],
      ['nobody', requestBytes(words({ recipient: undefined })), 'ERR_RECIPIENT_REQUIRED'],
    ]
    for (const [what, signed, code] of cases)
      t.match(await a.bring(signedFor(hostA, alice, signed)), { status: 400, body: { code } }, what)
    t.match(
      await a.bring(signedFor(hostA, alice, good, 'brc31')),
      { status: 400, body: { code: 'ERR_MALFORMED' } },
      'a request as if it was a body',
    )
    t.match(await (await b.user(alice)).post('/sendMessage', nested(200_000)), {
      status: 400,
      body: { code: 'ERR_MALFORMED' },
    })
    t.same(await b.inbox(), [])
  })

  await t.test('the plain form of BRC-34 is taken only where the operator says so', async (t) => {
    const [strict, open] = [a, await plain.host(hostA)]
    const body = plainOf(bodyOf(hostA, said(hostA)))
    t.match(await strict.push(body), refusal(403, 'ERR_LINKAGE_PROOF_REQUIRED'))
    t.same(await b.inbox(), [])
    t.match(await open.push(body), success)
    t.match(await open.push(body), success)
    t.match(await open.push(bodyOf(hostA, said(hostA, { messageId: 'proved' }))), success)
    const authrite = said(hostA, { messageId: '31' }, { protocol: 'brc31' })
    t.match(await open.push(plainOf(bodyOf(hostA, authrite))), success)
    const requestId = Buffer.alloc(32, '{')
    const request = { requestId, method: 'POST', url: '/sendMessage', fields: [] }
    const braced = requestPreimage(request, toUtf8(words({ messageId: 'braced' })))
    t.match(await open.push(plainOf(bodyOf(hostA, signedFor(hostA, alice, braced)))), success)
    t.match(
      await (await plain.host(hostC)).push(body),
      { status: 403, body: { code: 'ERR_FORBIDDEN' } },
      'denied',
    )
    t.same(await plain.inbox(), ['one "hello"', 'proved "hello"', '31 "hello"', 'braced "hello"'])

    const known = bodyOf(hostA, said(hostA))
    const text = requestBytes(words({ messageId: 'forged', body: 'never said' }))
    const invented = await forged(known as Known, text)
    t.match(await strict.push(invented), refusal(403, 'ERR_LINKAGE_PROOF_REQUIRED'))
    const { protocol, nonce, yourNonce, sharedSecret, linkageProof } = known
    const dressed = { ...invented, protocol, nonce, yourNonce, sharedSecret, linkageProof }
    for (const host of [strict, open]) t.match(await host.push(dressed), refusal(400, noLink))
    t.match(await open.push(invented), success, 'whoever takes the plain form takes inventions')
    t.same(await b.inbox(), [])
  })

  await t.test('300 mutations of a good body', async (t) => {
    const roll = diceOf(34)
    const taken: string[] = []
    for (let round = 0; round < 300; round++) {
      const messageId = `round ${round}`
      const body = bodyOf(hostA, said(hostA, { messageId }), { messageId })
      const pushed = round % 3 === 0 ? mutatedText(JSON.stringify(body), roll) : mutatedField(body, roll)
      const { status, text } = await a.push(pushed)
      if (status === 200) taken.push(`${messageId} "hello"`)
      else if (![400, 403, 404].includes(status)) t.fail(`${status} ${text}`)
    }
    t.ok(taken.length < 60, `${taken.length} of them say the same as before`)
    t.same(await b.inbox(), taken, 'nothing but what Alice said')
  })
})

function mutatedText(text: string, roll: (sides: number) => number): string {
  const at = roll(text.length)
  const kinds = [
    () => text.slice(0, at) + String.fromCharCode(32 + roll(95)) + text.slice(at + 1),
    () => text.slice(0, at) + text.slice(at + 1 + roll(20)),
    () => text.slice(0, at) + text.slice(roll(text.length)),
    () => text.slice(0, at),
  ]
  return kinds[roll(kinds.length)]!()
}

function mutatedField(body: Body, roll: (sides: number) => number): Body {
  const names = Object.keys(body)
  const name = names[roll(names.length)]!
  const value: string = body[name]
  const at = roll(value.length)
  const digit = value[(at * 7 + 1) % value.length]
  const values: unknown[] = [
    ...[undefined, null, '', 0, [], {}, true, [value], `${value}${value}`, value.slice(1), [[1]]],
    ...[value.slice(0, at) + digit + value.slice(at + 1), `${value.slice(0, at)}0${value.slice(at + 1)}`],
    ...[value.toUpperCase(), [...Buffer.from(value)], body[names[roll(names.length)]!], ' '.repeat(at)],
  ]
  return { ...body, [name]: values[roll(values.length)] }
}

t.test('what hosts may make a relay do is bounded', async (t) => {
  t.testdir()
  const b = await openB(t, limited('failuresPerMinute=3', 'boxMessages=2'))
  const a = await b.host(hostA)

  await t.test('quotas are those of a recipient', async (t) => {
    const bring = (messageId: string) => a.bring(said(hostA, { messageId }))
    for (const id of ['1', '2']) t.match(await bring(id), success)
    t.match(await bring('3'), refusal(429, 'ERR_INBOX_QUOTA_EXCEEDED'))
    await (await b.user(bob)).ack('1', '2')
    t.match(await bring('3'), success)
    t.same(await b.inbox(), ['3 "hello"'])
  })

  await t.test('a body that is too large is not read', async (t) => {
    const session = await shakeHands(b.relay().url, hostA)
    const path = '/propagateMessage'
    const { headers } = await signRequest(hostA, session, { method: 'POST', path, body: '{}', headers: json })
    const mib = 1 << 20
    const long = await answerTo(b.relay().url + path, { ...headers, 'content-length': String(200 * mib) }, 0)
    t.match(long, { status: 413, sent: 0 }, 'as its length says')
    const chunked = await answerTo(b.relay().url + path, headers, 9 * mib)
    t.equal(chunked.status, 413, 'as it comes')
    const numbers = `{"signedMessage":[${'999,'.repeat(500_000)}0]}`
    const before = process.cpuUsage()
    t.match(
      await a.push({ ...bodyOf(hostA, said(hostA)), ...JSON.parse(numbers) }),
      refusal(400, 'ERR_INVALID_REQUEST'),
    )
    const { user } = process.cpuUsage(before)
    t.ok(user < 1_500_000, `half a million bad numbers cost ${user} µs of both sides`)
  })

  await t.test('proofs that fail count against their address', async (t) => {
    const forged = { ...bodyOf(hostA, said(hostA, { messageId: '4' })), linkageProof: '00'.repeat(98) }
    for (let round = 0; round < 3; round++)
      t.match(await a.push(forged), refusal(400, 'ERR_SENDER_LINKAGE_VERIFICATION_FAILED'))
    const good = said(hostA, { messageId: '4' })
    t.match(await a.bring(good), { status: 429, body: { code: 'ERR_LIMIT' } })
    b.clock.ms += 60_000
    t.match(await a.bring(good), success)
  })

  await t.test('patterns in tokens are tested in bounded time', async (t) => {
    const text = `${'a'.repeat(127)}!`
    for (const source of ['(a+)+$', '((a*)*)*b', '(.?){255}x', '((((a?){4}){4}){4}){2}$']) {
      const began = performance.now()
      parsePattern(source)?.test(text)
      t.ok(performance.now() - began < 500, source)
    }
  })
})

/** What is answered to a body of so many bytes; with none of them, to its head alone. */
const answerTo = (url: string, headers: Record<string, string>, bytes: number) =>
  new Promise<{ status: number | undefined; sent: number }>((resolve, reject) => {
    const request = httpRequest(url, { method: 'POST', headers }, (response) => {
      response.resume()
      resolve({ status: response.statusCode, sent: bytes })
      request.destroy()
    })
    request.on('error', reject)
    if (bytes === 0) request.flushHeaders()
    else request.end(Buffer.alloc(bytes, ' '))
  })

t.test('who pays for what is brought', async (t) => {
  const scene = await openBoxScene(t, ['--price', 'storageGBDay=10000000', '--allow', carol.identity])
  const { relay, devnet } = scene
  const [hostWallet, aliceWallet, bobWallet] = await Promise.all(
    ['host a', 'alice', 'bob'].map((name) => scene.person(name)),
  )
  const paying = webClient(relay, hostWallet)
  const bring = (body: Body) => paying.ask('POST', '/propagateMessage', JSON.stringify(body))
  const credit = async (keys: KeyWallet): Promise<Record<string, string>> => {
    const { result } = await askSigned(relay, keys, { type: 'account' })
    const { received, reserved, available, owed } = result.purses.find(({ purse }: any) => purse === 'credit')
    return { received, reserved, available, owed }
  }
  const [a, b] = [await hostOf(relay, hostA), await boxUserOf(relay, bob)]
  const c = await boxUserOf(relay, carol)
  for (const wallet of [aliceWallet, bobWallet])
    t.match(await webClient(relay, wallet).ask('POST', '/deposit', '{"satoshis":5000}'), { status: 200 })
  await devnet.node.mine(1)

  await t.test('the host, by 402', async (t) => {
    const before = await credit(alice)
    const message = bodyOf(hostA, said(hostA))
    const offer = await a.push(message)
    t.equal(offer.status, 402, offer.text)
    t.ok(Number(offer.headers.get('x-bsv-payment-satoshis-required')) > 0)
    t.same(told(await b.list()), [], 'the credit of its sender is not spent at its word')
    const paid = await bring(message)
    t.match(paid, success, paid.text)
    t.same(told(await b.list()), ['one "hello"'])
    t.same(await credit(alice), before, 'nor then')
    t.match(await credit(hostA), { received: offer.headers.get('x-bsv-payment-satoshis-required') })
    const { result } = await askSigned(relay, hostA, { type: 'inventory', owner: hostA.identity })
    t.match(result, [new RegExp(`^/${hostA.identity}/outbox/${bob.identity}/mb_`)], 'the record is its own')
    const after = await credit(hostA)
    t.match(await a.push(message), success, 'again, it costs nothing')
    t.same(await credit(hostA), after)
  })

  await t.test('a recipient who says so', async (t) => {
    await b.post('/permissions/set', { messageBox: 'inbox', recipientFee: 0 })
    const before = await credit(hostA)
    const [his, mine] = [await credit(bob), await credit(alice)]
    t.match(await a.bring(said(hostA, { messageId: 'two' })), success)
    t.same(told(await b.list()), ['one "hello"', 'two "hello"'])
    t.same([await credit(hostA), await credit(alice)], [before, mine])
    t.ok(Number((await credit(bob)).available) < Number(his.available))
    const { result } = await askSigned(relay, bob, { type: 'inventory', owner: bob.identity })
    t.match(result, [new RegExp(`^/${bob.identity}/outbox/${bob.identity}/mb_`)])
  })

  await t.test('recipients who ask for a fee get it from the sender', async (t) => {
    for (const each of [b, c]) await each.post('/permissions/set', { messageBox: 'inbox', recipientFee: 5 })
    const text = (message: object, payment?: unknown) =>
      signedFor(hostA, alice, requestBytes(words(message, payment)))
    const unpaid = bodyOf(hostA, text({ messageId: 'unpaid' }))
    t.match(await bring(unpaid), refusal(400, 'ERR_MISSING_PAYMENT_TX'))
    const little = await payTo(aliceWallet!, [[bob, 4]])
    t.match(
      await bring(bodyOf(hostA, text({ messageId: 'little' }, little))),
      refusal(400, 'ERR_INSUFFICIENT_RECIPIENT_PAYMENT'),
    )
    const payment = await payTo(aliceWallet!, [
      [eve, 7],
      [bob, 5],
      [carol, 5],
    ])
    const recipients = [bob.identity, carol.identity]
    const both = text({ recipient: undefined, recipients, messageId: ['paid b', 'paid c'] }, payment)
    const toBob = await bring(bodyOf(hostA, both, { messageId: 'paid b' }))
    t.match(toBob, success, toBob.text)
    const last = (await b.list()).body.messages.at(-1)
    t.equal(last.messageId, 'paid b')
    t.same(JSON.parse(last.body).payment, { ...payment, outputs: [payment.outputs[1]] }, 'his share')
    const toCarol = await bring(bodyOf(hostA, both, { recipient: carol.identity, messageId: 'paid c' }))
    t.match(toCarol, success, toCarol.text)
    t.same(told(await c.list()), ['paid c "hello"'])
    t.match(await bring(bodyOf(hostA, both, { messageId: 'paid b' })), success, 'again')
    await b.ack('paid b')
    t.match(await bring(bodyOf(hostA, both, { messageId: 'paid b' })), success, 'after it was acknowledged')
    t.equal(told(await b.list()).length, 2)
    t.match(
      await bring(bodyOf(hostA, text({ messageId: 'reused' }, payment))),
      refusal(409, 'ERR_PAYMENT_REPLAYED'),
    )
    t.equal(told(await b.list()).length, 2)
    const next = await payTo(aliceWallet!, [
      [bob, 5],
      [carol, 5],
    ])
    const again = text({ recipient: undefined, recipients, messageId: ['b', 'c'] }, next)
    const bodies = recipients.map((recipient) => bodyOf(hostA, again, { recipient }))
    for (const { status, text } of await Promise.all(bodies.map(bring)))
      t.match(
        status === 409 ? text : 'ERR_PAYMENT_IN_PROGRESS',
        /ERR_PAYMENT_IN_PROGRESS/,
        'at once, or soon',
      )
    for (const body of bodies) t.match(await bring(body), success)
    t.same(
      [told(await b.list()).at(-1), told(await c.list())],
      ['b "hello"', ['paid c "hello"', 'c "hello"']],
    )
  })
})

for (const open of ['--open', '--open-boxes'])
  t.test(`a fee for a box is no smaller for who calls himself a host, ${open}`, async (t) => {
    const allowed = ['--allow', bob.identity, '--allow', hostC.identity]
    const scene = await openBoxScene(t, [open, '--box-fee', 'inbox=500', ...allowed])
    const { relay } = scene
    const a = await hostOf(relay, hostA)
    const b = await boxUserOf(relay, bob)
    const message = bodyOf(hostA, said(hostA))
    const offer = await a.push(message)
    t.match(offer, refusal(402, 'ERR_PAYMENT_REQUIRED'), 'fresh')
    t.ok(Number(offer.headers.get('x-bsv-payment-satoshis-required')) >= 500)
    t.same(told(await b.list()), [])
    t.match(await a.bring(said(hostA, { messageBox: 'other' })), success, 'another box has none')
    t.match(await (await hostOf(relay, hostC)).bring(said(hostC, { messageId: 'c' })), success, 'allowed')

    const paying = webClient(relay, await scene.person('host a'))
    const paid = await paying.ask('POST', '/propagateMessage', JSON.stringify(message))
    t.match(paid, success, paid.text)
    t.match(await a.bring(said(hostA, { messageId: 'two' })), success, 'with an account')
    t.same(told(await b.list()), ['c "hello"', 'one "hello"', 'two "hello"'])
  })

/** A payment to recipients, as the client of message boxes makes it. */
async function payTo(wallet: EmbeddedWallet, parts: readonly (readonly [KeyWallet, number])[]) {
  const planned = await Promise.all(
    parts.map(async ([{ identity }, satoshis], outputIndex) => {
      const [prefix, suffix] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')]
      const name = { protocolID: [2, '3241645161d8'] as [2, string], keyID: `${prefix} ${suffix}` }
      const { publicKey } = await anyone.getPublicKey({ ...name, counterparty: identity })
      const names = { derivationPrefix: prefix, derivationSuffix: suffix }
      const paymentRemittance = { ...names, senderIdentityKey: ANYONE_KEY }
      const lockingScript = toHex(p2pkh(fromHex(publicKey)))
      return {
        made: { lockingScript, satoshis, outputDescription: 'a payment' },
        told: { outputIndex, protocol: 'wallet payment', paymentRemittance },
      }
    }),
  )
  const { tx } = await wallet.createAction({
    description: 'pays for a message',
    outputs: planned.map(({ made }) => made),
    options: { randomizeOutputs: false, noSend: true },
  })
  return { tx: [...tx!], outputs: planned.map(({ told }) => told), description: 'for a message' }
}
