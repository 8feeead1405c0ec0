/** docs/protocol.md §12.7, the host: which tokens it admits, what ends them, what it keeps. */
import t from 'tap'
import { AdvertTokens, tokenBasket } from '../../contracts/overlay/tokens.ts'
import { marketTopic, tokenKey, tokenScript } from '../../contracts/overlay/token.ts'
import { makeBeefOf, parseBeef } from '../../contracts/transaction/beef.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { serializeTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { MarketError } from '../../market/errors.ts'
import { advertLimits } from '../../market/advert.ts'
import { found, openOverlayScene, outputs, scriptOf, submit } from '../fixtures/overlay.ts'
import { publicKey } from '../fixtures/devnet-coins.ts'
import { keysOf, withMethods } from '../fixtures/wallet.ts'

const nothing = { outputsToAdmit: [], coinsToRetain: [], coinsRemoved: [] }
const admitted = { outputsToAdmit: [0], coinsToRetain: [], coinsRemoved: [] }

t.test('a token is admitted once, replaced by what spends it, and gone when it is spent', async (t) => {
  const scene = await openOverlayScene(t)
  const { clock, devnet } = scene
  const overlay = scene.host()
  const alice = await scene.relay('alice')
  const tokens = new AdvertTokens(() => alice)
  const first = await scene.advert(alice)
  const beef = (await tokens.beefFor(first))!
  t.same(await submit(overlay, beef), admitted)
  t.same(await submit(overlay, beef), admitted, 'the same again is answered the same')
  t.same(await tokens.beefFor(first), beef, 'and made once')
  t.same(await found(overlay), [first])

  clock.now += 1000
  const second = await scene.advert(alice)
  const next = (await tokens.beefFor(second))!
  t.same(await submit(overlay, next), { ...admitted, coinsRemoved: [0] })
  t.same(await found(overlay), [second])
  await t.rejects(tokens.beefFor(first), { code: 'ERR_CONFLICT' })
  t.same(await submit(overlay, beef), admitted, 'remembered, and not looked at again')
  t.same(await found(overlay), [second])

  clock.now += 1000
  const revocation = await scene.advert(alice, { expires: clock.now })
  t.same(await submit(overlay, (await tokens.beefFor(revocation))!), { ...admitted, coinsRemoved: [0] })
  t.same(await found(overlay), [revocation])
  await devnet.node.mine(1)

  const restarted = scene.host({ folder: 'overlay' })
  await t.rejects(restarted.lookup({ service: 'ls_relay_market', query: {} }), { code: 'ERR_BUSY' })
  await overlay.close()
  t.same(await found(restarted), [revocation], 'a restart loses nothing')
  t.same(await submit(restarted, beef), admitted)
  t.same(await found(restarted), [revocation])
  const elsewhere = scene.host({ folder: 'other' })
  t.same(await submit(elsewhere, beef), nothing, 'what the chain says is spent comes too late')

  const bob = await scene.relay('bob')
  t.equal(
    await new AdvertTokens(() => bob).beefFor(await scene.advert(bob, { expires: clock.now })),
    undefined,
  )
})

t.test('nothing else is admitted, or sent to the network', async (t) => {
  const scene = await openOverlayScene(t)
  const { clock, devnet } = scene
  const overlay = scene.host()
  const alice = await scene.relay('alice')
  const text = await scene.advert(alice)
  const own = alice.keys.ownKey(tokenKey)
  const bobs = keysOf('bob').ownKey(tokenKey)
  const good = scriptOf(text, alice)
  const forged = Uint8Array.from(good)
  forged[forged.length - 3]! ^= 1
  const cases: Record<string, Uint8Array> = {
    'a lock of somebody else': tokenScript(text, bobs),
    'a signature of somebody else': tokenScript(text, { ...own, sign: (digest) => bobs.sign(digest) }),
    'a signature that is changed': forged,
    'an advert that is changed': tokenScript(text.replace('"store"', '"stork"'), own),
    'more behind it': Uint8Array.from([...good, 0x51]),
    'another network': scriptOf(await scene.advert(alice, { network: 'main' }), alice),
    'an advert of the future': scriptOf(
      await scene.advert(alice, { timestamp: clock.now + 3_600_000 }),
      alice,
    ),
    'an expired one': scriptOf(
      await scene.advert(alice, { timestamp: clock.now - 2000, expires: clock.now - 1000 }),
      alice,
    ),
    'one that is too long': tokenScript(`${text}${' '.repeat(advertLimits.textBytes)}`, own),
    'an ordinary payment': p2pkh(publicKey),
  }
  for (const [name, script] of Object.entries(cases)) {
    const beef = await outputs(alice, [script])
    t.same(await submit(overlay, beef), nothing, name)
    const { txid } = parseBeef(beef).subject
    t.equal((await devnet.chain.status(txid)).state, 'unknown')
    await alice.abortAction({ reference: txid })
  }
  const high = scene.host({ folder: 'high', bits: 30 })
  t.same(await submit(high, await outputs(alice, [good])), nothing, 'too little work')
  await t.rejects(overlay.submit({ beef: new Uint8Array(9), topics: [marketTopic] }), {
    code: 'ERR_MALFORMED',
  })
  await t.rejects(overlay.submit({ beef: new Uint8Array(9), topics: ['tm_other'] }), {
    code: 'ERR_NOT_FOUND',
  })
  await t.rejects(overlay.lookup({ service: 'ls_other', query: {} }), { code: 'ERR_NOT_FOUND' })
  for (const query of [{ relay: 'x' }, { limit: 101 }, { other: 1 }, 'all'])
    await t.rejects(found(overlay, query), { code: 'ERR_MALFORMED' })
  t.same(await found(overlay), [])

  const twice = await outputs(alice, [good, good])
  t.same(await submit(overlay, twice), admitted, 'one token of a relay')

  const bob = await scene.relay('bob')
  const beef = await outputs(bob, [scriptOf(await scene.advert(bob), bob)])
  const { members, subject } = parseBeef(beef)
  const inputs = subject.transaction.inputs.map((input) => ({
    ...input,
    script: input.script.map((byte, at) => (at === 40 ? byte ^ 1 : byte)),
  }))
  const transaction = { ...subject.transaction, inputs }
  const txid = txidOf(transaction)
  const broken = await makeBeefOf([txid], (id) => (id === txid ? { txid, transaction } : members.get(id)))
  await t.rejects(submit(overlay, broken), { code: 'ERR_TRANSACTION_REFUSED' }, 'signed over other bytes')
  const vast = { ...transaction, outputs: Array(7300).fill({ satoshis: 0, script: new Uint8Array(0) }) }
  const vastId = txidOf(vast)
  const vastBeef = await makeBeefOf([vastId], (id) =>
    id === vastId ? { txid: id, transaction: vast } : members.get(id),
  )
  await t.rejects(submit(overlay, vastBeef), { code: 'ERR_TOO_LARGE' }, 'too many outputs to be looked at')
  const away = async () => Promise.reject(new MarketError('ERR_CHAIN_UNAVAILABLE', 'away'))
  const alone = scene.host({ folder: 'alone', chain: () => withMethods(devnet.chain, { broadcast: away }) })
  await t.rejects(submit(alone, beef), { code: 'ERR_CHAIN_UNAVAILABLE' })
  t.same(await found(alone), [])
  const doubtful = scene.host({
    folder: 'doubtful',
    chain: () => withMethods(devnet.chain, { isUnspent: away }),
  })
  t.same(await submit(doubtful, beef), admitted, 'what the chain does not say now is looked at again')
  const foreign = scene.host({
    folder: 'foreign',
    chain: () => withMethods(devnet.chain, { isValidRootForHeight: async () => false }),
  })
  await t.rejects(submit(foreign, beef), { code: 'ERR_TRANSACTION_REFUSED' }, 'ancestors of another chain')
})

t.test(
  'newest first, in pages; full, the least work goes; what the chain loses is gone until it is back',
  async (t) => {
    const scene = await openOverlayScene(t)
    const { clock, devnet } = scene
    const overlay = scene.host({ most: 3 })
    const alice = await scene.relay('alice')
    const texts: string[] = []
    const beefs: Uint8Array[] = []
    for (const network of ['devnet', null, 'devnet'] as const) {
      const other = await scene.open(`relay ${texts.length}`)
      const prices = { storageCostPerGigPerDay: 0, bandwidthCostPerGig: 0, ingressCostPerGig: 0 }
      texts.push(await scene.advert(other, { network, ...(network === null && prices) }))
      beefs.push(await outputs(alice, [scriptOf(texts.at(-1)!, other)]))
      t.same(await submit(overlay, beefs.at(-1)!), admitted)
    }
    const [oldest, middle, newest] = texts
    t.same(await found(overlay), [newest, middle, oldest])
    t.same(await found(overlay, { network: null }), [middle])
    t.same(await found(overlay, { relay: JSON.parse(oldest!).serverPubKey }), [oldest])
    t.same(await found(overlay, { limit: 1 }), [newest])
    const { outputs: page } = await overlay.lookup({ service: 'ls_relay_market', query: { limit: 2 } })
    const number = Number(Buffer.from(page[1]!.context!).toString())
    t.same(await found(overlay, { before: number }), [oldest])
    t.same(await found(overlay, { since: number }), [newest])

    await devnet.node.mine(1)
    await overlay.follow()
    const first = (await overlay.lookup({ service: 'ls_relay_market', query: {} })).outputs.at(-1)!
    const kept = parseBeef(Uint8Array.from(first.beef))
    t.equal(kept.members.size, 1, 'in a block it needs no ancestors')
    t.ok(kept.subject.path)

    const rich = await scene.open('rich')
    const better = await scene.advert(rich, { timestamp: clock.now + 1000 })
    await submit(overlay, await outputs(alice, [scriptOf(better, rich)]))
    t.equal((await found(overlay)).length, 3, 'no more than there is room for')

    // The first token's money is spent otherwise, in the branch that wins.
    const lost = await scene.relay('lost')
    const text = await scene.advert(lost)
    const beef = await outputs(lost, [scriptOf(text, lost)])
    const patient = scene.host({ folder: 'patient' })
    await submit(patient, beef)
    await devnet.node.mine(1)
    await patient.follow()
    t.same(await found(patient), [text])
    await patient.follow()
    t.same(await found(patient), [text])
    await devnet.node.reorganize(1)
    const gone = new Set([parseBeef(beef).subject.txid])
    const forgetful = withMethods(devnet.chain, {
      isUnspent: async ({ txid }) => !gone.has(txid),
    })
    await patient.close()
    const witness = scene.host({ folder: 'patient', chain: () => forgetful })
    t.same(await found(witness), [text])
    await witness.follow()
    t.same(await found(witness), [], 'the chain has it no more')
    gone.clear()
    await devnet.chain.broadcast(serializeTransaction(parseBeef(beef).subject.transaction))
    t.same(await submit(witness, beef), admitted, 'and has it again')
    t.same(await found(witness), [text])

    clock.now += advertLimits.lifeMs + 3 * advertLimits.futureMs
    t.same(await found(witness), [], 'expired')
    await witness.follow()
    t.same(await submit(witness, beef), nothing)
  },
)

t.test(
  'a token spent without a word is found out; a later one needs no spend of the one before',
  async (t) => {
    const scene = await openOverlayScene(t)
    const { clock } = scene
    const overlay = scene.host()
    const alice = await scene.relay('alice')
    const tokens = new AdvertTokens(() => alice)
    const first = await scene.advert(alice)
    t.same(await submit(overlay, (await tokens.beefFor(first))!), admitted)
    clock.now += 1000
    const second = await scene.advert(alice)
    const loose = await outputs(alice, [scriptOf(second, alice)])
    t.same(await submit(overlay, loose), admitted)
    t.same(await found(overlay), [second])
    clock.now += 1000
    const spend = (await tokens.beefFor(await scene.advert(alice)))!
    await overlay.follow()
    t.same(await found(overlay), [second], 'not this one')
    t.same(await submit(overlay, spend), admitted, 'what it spends was replaced before')
    clock.now += 1000
    await tokens.beefFor(await scene.advert(alice))
    await overlay.follow()
    t.same(await found(overlay), [], 'nobody told, the chain did')
  },
)

t.test('a token whose sending was not answered is made once', async (t) => {
  const scene = await openOverlayScene(t)
  const { clock, devnet } = scene
  let isAway = true
  const broadcast = async (bytes: Uint8Array) => {
    if (isAway) throw new MarketError('ERR_CHAIN_UNAVAILABLE', 'away')
    return devnet.chain.broadcast(bytes)
  }
  const alice = await scene.open('alice', { chain: withMethods(devnet.chain, { broadcast }) })
  await scene.fund(alice, [20_000])
  const tokens = new AdvertTokens(() => alice)
  const text = await scene.advert(alice)
  for (const code of ['ERR_CHAIN_UNAVAILABLE', 'ERR_BUSY', 'ERR_BUSY'])
    await t.rejects(tokens.beefFor(text), { code })
  isAway = false
  const beef = (await tokens.beefFor(text))!
  const coins = []
  for await (const coin of alice.store.coinsIn(tokenBasket)) coins.push(coin.outpoint.slice(0, 64))
  t.same(coins, [parseBeef(beef).subject.txid])
  t.same(await submit(scene.host(), beef), admitted)

  clock.now += 1000
  isAway = true
  const [one, other] = await Promise.allSettled([
    tokens.beefFor(await scene.advert(alice)),
    tokens.beefFor(text),
  ])
  t.match([one, other], [{ reason: { code: 'ERR_CHAIN_UNAVAILABLE' } }, { reason: { code: 'ERR_BUSY' } }])
})
