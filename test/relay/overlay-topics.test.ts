/** docs/protocol.md §14: the topics of message boxes, hosts and PHIP: which tokens they admit, and what finds them. */
import { PrivateKey, ProtoWallet, PushDrop } from '@bsv/sdk'
import t from 'tap'
import { parsePattern } from '../../contracts/overlay/box-pattern.ts'
import { boxHostScript, boxService, boxTopic } from '../../contracts/overlay/box-host.ts'
import {
  type Hosting,
  hostAdvertScript,
  hostingSigners,
  hostingNames,
  isAdvertisable,
} from '../../contracts/overlay/host-advert.ts'
import {
  isAuthorized,
  phipScript,
  phipServices,
  phipTopic,
  routingKey,
  routingMessage,
} from '../../contracts/overlay/phip.ts'
import { pushDropScript, readPushDrop } from '../../contracts/overlay/pushdrop.ts'
import { align } from '../../contracts/overlay/standing.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { concat, fromHex, toHex, toUtf8 } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import type { Overlay } from '../../relay/overlay/overlay.ts'
import { openOverlayScene, outputs } from '../fixtures/overlay.ts'
import { keysOf } from '../fixtures/wallet.ts'

const nothing = { outputsToAdmit: [], coinsToRetain: [], coinsRemoved: [] }
const submitTo = async (overlay: Overlay, topic: string, beef: Uint8Array) =>
  (await overlay.submit({ beef, topics: [topic] }))[topic]

/** The scripts that are found, in hex. */
async function scripts(overlay: Overlay, service: string, query: unknown): Promise<string[]> {
  const { outputs: found } = await overlay.lookup({ service, query })
  return found.map(({ beef, outputIndex }) =>
    toHex(parseBeef(Uint8Array.from(beef)).subject.transaction.outputs[outputIndex]!.script),
  )
}

/** As the sdk makes it. */
async function locked(
  keys: KeyWallet,
  fields: readonly Uint8Array[],
  protocol: [1 | 2, string],
  at?: 'after',
) {
  const bytes = fields.map((field) => [...field])
  const script = await new PushDrop(keys as any).lock(bytes, protocol, '1', 'anyone', true, true, at)
  return script.toUint8Array()
}

const alice = keysOf('alice')
const bob = keysOf('bob')
const own = (keys: KeyWallet) => fromHex(keys.identity)
const host = (keys: KeyWallet, url = 'https://boxes.example.org') => boxHostScript(url, keys)
const signed = (keys: KeyWallet, message: string) => keys.ownKey(routingKey).sign(sha256(message))

t.test('scripts are those of the sdk', async (t) => {
  const fields = [own(alice), toUtf8('https://boxes.example.org')]
  t.same(toHex(await locked(alice, fields, [1, 'messagebox advertisement'])), toHex(host(alice)))
  for (const hosting of ['SHIP', 'SLAP'] as const) {
    const { topic } = hostingNames[hosting]
    const name = hosting === 'SHIP' ? topic : 'ls_ship'
    const all = [toUtf8(hosting), own(alice), toUtf8('https://relay.example.org/'), toUtf8(name)]
    const protocol = hosting === 'SHIP' ? 'service host interconnect' : 'service lookup availability'
    const script = hostAdvertScript(hosting, { uri: 'https://relay.example.org/', name }, alice)
    t.same(toHex(await locked(alice, all, [2, protocol])), toHex(script), hosting)
  }
  const last = await locked(alice, fields, [1, 'messagebox advertisement'], 'after')
  t.same(readPushDrop(last)?.fields.map(toHex), fields.map(toHex), 'with its lock at the end')

  // BRC-34's protocol has a name that the sdk's wallets refuse: its keys are derived by hand.
  const root = PrivateKey.fromHex(toHex(sha256('wallet of alice')))
  const anyone = new PrivateKey(1)
  const { user, authorization } = { user: bob.identity, authorization: new Uint8Array(70) }
  const { lock } = readPushDrop(phipScript({ domain: 'relay.example.org', user, authorization }, alice))!
  t.same(toHex(lock), root.toPublicKey().deriveChild(anyone, '2-phip-1').toString())
  const routing = { host: alice.identity, domain: 'relay.example.org', boxes: '^inbox$' }
  const { signature } = await new ProtoWallet(
    PrivateKey.fromHex(toHex(sha256('wallet of bob'))),
  ).createSignature({
    ...{ data: [...toUtf8(routingMessage(routing))], protocolID: routingKey.protocolID, keyID: '1' },
    counterparty: 'anyone',
  })
  t.ok(isAuthorized(routing, bob.identity, Uint8Array.from(signature)))
  t.notOk(isAuthorized({ ...routing, boxes: '^box$' }, bob.identity, Uint8Array.from(signature)))
})

t.test('what others can reach is advertised, nothing else', (t) => {
  const reachable = [
    'https://a.example',
    'https://a.example:8443/',
    'https+bsvauth+smf://a.example/',
    'wss://a.example',
  ]
  const radio = 'js8c+bsvauth+smf:?lat=40&long=130&freq=40meters&radius=1000miles'
  const others = [
    'http://a.example',
    'https://localhost',
    'https://a.example/path',
    'https://a.localhost:1',
    'ftp://a',
  ]
  for (const uri of [...reachable, radio]) t.ok(isAdvertisable(uri), uri)
  for (const uri of [...others, 'https://a b', 'https://a?x', 'https://', 'js8c+bsvauth+smf:?lat=400', ''])
    t.notOk(isAdvertisable(uri), uri)
  t.end()
})

t.test('each topic admits its own tokens, and their services find them', async (t) => {
  const scene = await openOverlayScene(t)
  const overlay = scene.host({ denied: new Set([keysOf('mallory').identity]) })
  const payer = await scene.relay('payer')
  const uri = 'https://relay.example.org'
  const advert = (hosting: Hosting, name: string, changes = {}, keys = alice) =>
    hostAdvertScript(hosting, { uri, name, ...changes }, keys)
  const phip = (changes: { domain?: string; boxes?: string } = {}, by = alice) => {
    const routing = { domain: 'relay.example.org', ...changes }
    const authorization = signed(bob, routingMessage({ host: by.identity, ...routing }))
    return phipScript({ ...routing, user: bob.identity, authorization }, by)
  }
  const foreign = Uint8Array.from(host(alice))
  foreign.set(own(bob), 1)
  const borrowed = signed(bob, routingMessage({ host: alice.identity, domain: 'relay.example.org' }))
  const refused: Record<string, Record<string, Uint8Array>> = {
    [boxTopic]: {
      'a lock of somebody else': foreign,
      'no address': host(alice, 'boxes'),
      'somebody else as its owner': pushDropScript(
        [own(bob), toUtf8(uri)],
        alice.openKey('1-messagebox advertisement-1'),
      ),
      'a field too many': pushDropScript(
        [own(alice), toUtf8(uri), toUtf8('more')],
        alice.openKey('1-messagebox advertisement-1'),
      ),
      'more behind it': concat(host(alice), Uint8Array.of(0x51)),
      'another kind': advert('SHIP', 'tm_ship'),
    },
    [hostingNames.SHIP.topic]: {
      'a service': advert('SHIP', 'ls_ship'),
      'no name': advert('SHIP', 'tm__ship'),
      'this machine': advert('SHIP', 'tm_ship', { uri: 'https://localhost:8080' }),
      'plain http': advert('SHIP', 'tm_ship', { uri: 'http://relay.example.org' }),
      'another protocol': advert('SLAP', 'ls_ship'),
    },
    [phipTopic]: {
      'another box than its user named': phipScript(
        { domain: 'relay.example.org', boxes: '^inbox$', user: bob.identity, authorization: borrowed },
        alice,
      ),
      'another host': phipScript(
        { domain: 'relay.example.org', user: bob.identity, authorization: borrowed },
        keysOf('carol'),
      ),
      'a denied host': phip({}, keysOf('mallory')),
      'a pattern that is not safe': phip({ boxes: '(a)\\1' }),
      'a pattern that reads like none': phip({ boxes: 'ALL' }),
      'a path': phip({ domain: 'relay.example.org/x' }),
      'an address': phip({ domain: '10.0.0.1' }),
    },
  }
  for (const [topic, cases] of Object.entries(refused)) {
    const beef = await outputs(payer, Object.values(cases))
    t.same(await submitTo(overlay, topic, beef), nothing, `${topic}: ${Object.keys(cases).join(', ')}`)
    await payer.abortAction({ reference: parseBeef(beef).subject.txid })
  }

  const good = {
    [boxTopic]: [host(alice), host(bob), host(alice, 'https://other.example.org')],
    [hostingNames.SHIP.topic]: [
      advert('SHIP', boxTopic),
      advert('SHIP', 'tm_ship'),
      advert('SHIP', boxTopic, {}, bob),
    ],
    [hostingNames.SLAP.topic]: [advert('SLAP', boxService), advert('SLAP', 'ls_ship')],
    [phipTopic]: [phip(), phip({ boxes: '^(inbox|payment_.*)$' })],
  }
  const beef = await outputs(payer, Object.values(good).flat())
  const steak = await overlay.submit({ beef, topics: Object.keys(good) })
  t.same(
    Object.fromEntries(Object.entries(steak).map(([topic, { outputsToAdmit }]) => [topic, outputsToAdmit])),
    {
      ...{ [boxTopic]: [0, 1, 2], tm_ship: [3, 4, 5], tm_slap: [6, 7], [phipTopic]: [8, 9] },
    },
  )

  const hex = (topic: keyof typeof good, ...at: number[]) => at.map((one) => toHex(good[topic]![one]!))
  const finds = async (from: Overlay) => {
    const { identity } = alice
    t.same(
      await scripts(from, boxService, { identityKey: identity.toUpperCase() }),
      hex(boxTopic, 2, 0),
      'newest first',
    )
    t.same(
      await scripts(from, boxService, { identityKey: identity, host: 'https://boxes.example.org' }),
      hex(boxTopic, 0),
    )
    t.same(await scripts(from, 'ls_ship', { topics: [boxTopic] }), hex('tm_ship', 2, 0))
    t.same(await scripts(from, 'ls_ship', { topics: [boxTopic], identityKey: identity }), hex('tm_ship', 0))
    t.same(await scripts(from, 'ls_ship', 'findAll'), hex('tm_ship', 2, 1, 0))
    t.same(await scripts(from, 'ls_ship', { domain: uri, limit: 1, skip: 1 }), hex('tm_ship', 1))
    t.same(await scripts(from, 'ls_slap', { service: 'ls_ship' }), hex('tm_slap', 1))
    for (const service of phipServices)
      for (const name of ['user', 'recipient', 'identityKey'])
        t.same(await scripts(from, service, { [name]: bob.identity }), hex(phipTopic, 1, 0))
    t.same(await scripts(from, 'PHIP', { user: identity }), [])
  }
  await finds(overlay)
  for (const [service, query] of [
    ...[
      [boxService, {}],
      [boxService, { identityKey: 'x' }],
      ['ls_ship', { limit: 0 }],
      ['PHIP', {}],
      ['PHIP', 1],
    ],
  ] as const)
    await t.rejects(overlay.lookup({ service, query }), { code: 'ERR_MALFORMED' })
  await overlay.close()
  await finds(scene.host())

  t.test('one maker has no more than his share; full, nothing new is admitted', async (t) => {
    const small = scene.host({ folder: 'small', most: 17 })
    const many = Array.from({ length: 17 }, (_, at) => host(alice, `https://h${at}.example.org`))
    await submitTo(small, boxTopic, await outputs(payer, many))
    const found = await scripts(small, boxService, { identityKey: alice.identity })
    t.same(found, many.slice(1).reverse().map(toHex), 'his oldest went')
    const others = await outputs(payer, [host(bob), host(keysOf('carol'))])
    t.match(await submitTo(small, boxTopic, others), { outputsToAdmit: [0, 1] })
    t.same(await submitTo(small, boxTopic, await outputs(payer, [host(keysOf('dave'))])), nothing)
  })
})

t.test('tokens stand as long as they are wanted; who spent one hears that it was here', async (t) => {
  const scene = await openOverlayScene(t)
  const overlay = scene.host()
  const wallet = await scene.relay('alice')
  const signers = hostingSigners(wallet.keys)
  const uri = 'https://relay.example.org'
  const [one, other] = ['tm_ship', 'tm_phip'].map((name) =>
    hostAdvertScript('SHIP', { uri, name }, wallet.keys),
  )
  const first = await align(wallet, [one!, other!], signers)
  t.match(first, { isAligned: true, txids: { length: 1 } })
  t.same(await align(wallet, [other!, one!], signers), first, 'nothing is made twice')
  const submit = async (txid: string) => submitTo(overlay, 'tm_ship', await wallet.store.beef(txid))
  t.match(await submit(first.txids[0]!), { outputsToAdmit: [0, 1] })

  const { txids } = await align(wallet, [one!], signers)
  t.equal(txids.length, 2)
  await overlay.follow()
  t.same(await scripts(overlay, 'ls_ship', 'findAll'), [toHex(one!)], 'the chain told it before its maker')
  const spend = txids[1]!
  t.match(await submit(spend), { outputsToAdmit: [], coinsRemoved: { length: 1 } })
  t.match(await submit(spend), { coinsRemoved: { length: 1 } }, 'again')

  const last = await align(wallet, [], signers)
  t.match(await submit(last.txids[0]!), { coinsRemoved: { length: 1 } })
  t.same(await scripts(overlay, 'ls_ship', 'findAll'), [])
  t.same(await align(wallet, [], signers), { txids: [], isAligned: true })
})

t.test('patterns mean what they mean to everybody, and are tested in linear time', (t) => {
  const patterns = [
    'inbox',
    '^(payment|chat)_.*$',
    '(a*)*b',
    '[a-c]+\\d{2,3}',
    '(|x)y',
    'x{0,2}y',
    '[^a-]',
    '^[\\w-]{2,}$',
    'a|^b|c$',
    '(?:ab){2,}',
    '[]',
    '\\.',
    'a??b',
  ]
  const texts = [
    '',
    'inbox',
    'my inbox',
    'payment_x',
    'chat_',
    'aaab',
    'ab12',
    'xxy',
    'abab',
    '-',
    'a',
    'b',
    'c',
    'bc',
    'a.b',
    'x\ny',
  ]
  for (const source of patterns)
    for (const text of texts)
      t.equal(
        parsePattern(source)?.test(text),
        new RegExp(source).test(text),
        `${source} of ${JSON.stringify(text)}`,
      )
  for (const source of [
    '(?=a)',
    '(?<x>a)',
    '(a)\\1',
    '\\b',
    '(a',
    'a)',
    '*',
    'a{2,1}',
    '{',
    '',
    '(a{999}){999}',
    'x'.repeat(129),
  ])
    t.equal(parsePattern(source), undefined, source.slice(0, 20))
  const start = performance.now()
  for (const source of ['(x+x+)+y', '(a|a|x)*y', '(.*){9}(.*){9}z', '((((){999}){999}){999}){999}'])
    t.type(parsePattern(source)?.test('x'.repeat(128)), 'boolean')
  t.ok(performance.now() - start < 1000)
  t.end()
})
