/** What others may bring, mine and say to take money, to fill the disk or to stop the wallet. */
import type * as sdk from '@bsv/sdk'
import t from 'tap'
import { makeBeefOf } from '../../contracts/transaction/beef.ts'
import { p2pkhOfHash } from '../../contracts/transaction/script.ts'
import { parseTransaction, serializeTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { BackupText, readBackup } from '../../contracts/wallet/backup/format.ts'
import { syncLimits, WalletSync } from '../../contracts/wallet/sync/sync.ts'
import { concat, toHex } from '../../market/bytes.ts'
import { openDevnet, spend, startMs } from '../fixtures/chain.ts'
import { beefOf, bill, keysOf, memberOf, openScene, paymentScript, withMethods } from '../fixtures/wallet.ts'
import { openPurse } from '../fixtures/wallet-sync.ts'

const elsewhere = p2pkhOfHash(new Uint8Array(20).fill(7))

t.test('of a BEEF only what the subject descends from is kept and sent', async (t) => {
  const { devnet, open } = await openScene(t)
  const sent: string[] = []
  const chain = withMethods(devnet.chain, {
    broadcast: async (bytes) => {
      sent.push(txidOf(bytes))
      return devnet.chain.broadcast(bytes)
    },
  })
  const wallet = await open('alice', { chain })
  const mined = await devnet.node.pay(elsewhere, 1000)
  await devnet.node.mine(1)
  const unproven = await devnet.node.pay(elsewhere, 1000)
  const { txid, args } = await bill(devnet, wallet, 500)
  const tx = await makeBeefOf([txid, mined, unproven], (id) => memberOf(devnet.chain, id))

  await wallet.internalizeAction({ ...args, tx: [...tx] })

  t.same(
    [mined, unproven].filter((id) => wallet.store.known(id) !== undefined),
    [],
  )
  t.notOk(sent.includes(unproven))
  t.equal((await wallet.balance()).unconfirmed, 500)
})

t.test('of an inputBEEF only what the inputs descend from is kept', async (t) => {
  const { devnet, open } = await openScene(t)
  const wallet = await open('alice')
  const { txid, args } = await bill(devnet, wallet, 5000)
  await wallet.internalizeAction({ ...args, tx: await beefOf(devnet.chain, txid) })
  const surplus = await devnet.node.pay(elsewhere, 1000)
  const given = await devnet.node.pay(elsewhere, 2000)
  const inputBEEF = await makeBeefOf([given, surplus, txid], (id) => memberOf(devnet.chain, id))
  const { transaction } = (await memberOf(devnet.chain, given))!
  const vout = transaction.outputs.findIndex(({ satoshis }) => satoshis === 2000)

  const { signableTransaction } = await wallet.createAction({
    description: 'spends what another signs for',
    inputBEEF: [...inputBEEF],
    inputs: [{ outpoint: `${given}.${vout}`, unlockingScriptLength: 108, inputDescription: 'of another' }],
    outputs: [],
  })

  t.ok(signableTransaction)
  t.ok(wallet.store.known(given))
  t.equal(wallet.store.known(surplus), undefined)
})

t.test('a coinbase is money when it is mature', async (t) => {
  const { devnet, open } = await openScene(t)
  const wallet = await open('alice')
  const miner = keysOf('miner')
  const paymentRemittance = {
    derivationPrefix: 'cHJlZml4',
    derivationSuffix: 'c3VmZml4',
    senderIdentityKey: miner.identity,
  }
  await devnet.node.mine(1, { script: await paymentScript(miner, paymentRemittance, wallet.identity) })
  const block = await devnet.call('getblock', (await devnet.chain.tip()).hash, 1)
  const output: sdk.InternalizeOutput = { outputIndex: 0, protocol: 'wallet payment', paymentRemittance }
  const args = async () => ({
    tx: await beefOf(devnet.chain, block.tx[0]),
    outputs: [output],
    description: 'mined for us',
  })
  await t.rejects(wallet.internalizeAction(await args()), {
    code: 'ERR_TRANSACTION_REFUSED',
    message: /mined too recently/,
  })
  t.same(await wallet.balance(), { confirmed: 0, unconfirmed: 0, reserved: 0 })

  await devnet.node.mine(99)
  await wallet.internalizeAction(await args())
  t.ok((await wallet.balance()).confirmed > 0)
})

t.test('a coinbase that a fork took away fails, and is there again with its block', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await devnet.node.mine(1, { script: purse.script(0) })
  await purse.follow()
  const [coin] = await purse.coins()
  t.match(coin, { state: 'mined', basket: 'coinbase' })
  const { hash } = await devnet.chain.tip()

  await devnet.node.reorganize(1)
  const report = await purse.follow()
  t.match(report, { unproven: 1, failed: 1, waiting: [] })
  t.match(await purse.coins(), [{ state: 'failed' }])

  const { hash: other } = (await devnet.chain.placeAt(purse.wallet.store.place()!.height - 1))! // below its tip
  await devnet.node.setValidity(other, false)
  t.equal((await devnet.chain.tip()).hash, hash)
  await purse.follow()
  t.match(await purse.coins(), [{ state: 'mined' }])
})

t.test('what is mined and spent already is not credited, unless nobody can tell', async (t) => {
  const { devnet, open } = await openScene(t)
  const first = await open('alice')
  const { txid, args } = await bill(devnet, first, 30_000)
  const early = await beefOf(devnet.chain, txid)
  await devnet.node.mine(1)
  const tx = await beefOf(devnet.chain, txid)
  await first.internalizeAction({ ...args, tx })
  await first.payTo({ satoshis: 29_000, identity: keysOf('bob').identity })
  await devnet.node.mine(1)

  const again = await open('alice', { folder: 'alice again' })
  await t.rejects(again.internalizeAction({ ...args, tx }), { code: 'ERR_CONFLICT' })
  await t.rejects(again.internalizeAction({ ...args, tx: early }), { message: /./ }, 'nor without its proof')
  t.same(await again.balance(), { confirmed: 0, unconfirmed: 0, reserved: 0 })

  const chain = withMethods(devnet.chain, { isUnspent: async () => undefined })
  const blind = await open('alice', { folder: 'alice blind', chain })
  await blind.internalizeAction({ ...args, tx })
  t.equal((await blind.balance()).confirmed, 30_000)
})

t.test('many new coins at once are not all asked about, and what is worth nothing is no coin', async (t) => {
  const devnet = await openDevnet(t)
  let asked = 0
  const purse = await openPurse(t, devnet.chain)
  await purse.follow()
  const paid = parseTransaction(spend(await devnet.coin(100_000)).bytes)
  const flood = {
    ...paid,
    outputs: Array.from({ length: 400 }, () => ({ satoshis: 20, script: purse.script(0) })),
  }
  const bytes = serializeTransaction(flood)
  const id = txidOf(bytes)
  const flooded = withMethods(devnet.chain, {
    mempool: async () => [id],
    transaction: async (txid) => (txid === id ? bytes : devnet.chain.transaction(txid)),
    isUnspent: async ({ txid }) => {
      if (txid === id) asked++
      return true
    },
  })
  const sync = new WalletSync({
    keys: purse.keys,
    store: purse.wallet.store,
    chain: flooded,
    now: () => startMs,
  })
  await sync.pass()
  t.equal((await purse.coins()).length, 400)
  t.ok(asked <= syncLimits.asked, `asked ${asked} times`)

  await devnet.node.submit(spend(await devnet.coin(34), { script: purse.script(1) }).bytes)
  await devnet.node.submit(spend(await devnet.coin(35), { script: purse.script(2) }).bytes)
  t.match(await purse.follow(), { found: 1, satoshis: 15 })
})

t.test('bytes in the mempool that are no transaction do not stop a pass', async (t) => {
  const devnet = await openDevnet(t)
  const bytes = new Uint8Array(10).fill(9)
  const id = txidOf(bytes)
  const chain = withMethods(devnet.chain, {
    mempool: async () => [id, ...(await devnet.chain.mempool())],
    transaction: async (txid) => (txid === id ? bytes : devnet.chain.transaction(txid)),
  })
  const purse = await openPurse(t, chain)
  await devnet.node.pay(purse.script(0), 5000)
  t.match(await purse.follow(), { isCurrent: true, found: 1 })
})

t.test('no node makes the wallet pay more than ten times the least rate', async (t) => {
  const scene = await openScene(t)
  const chain = withMethods(scene.devnet.chain, { feeRate: async () => 100_000 })
  const wallet = await scene.open('alice', { chain })
  await scene.fund(wallet, [50_000])
  await wallet.payTo({ satoshis: 1000, identity: keysOf('bob').identity })
  const { confirmed, unconfirmed } = await wallet.balance()
  t.ok(confirmed + unconfirmed > 48_000)
})

t.test('a payment that is mined under another id goes on under that, on both sides', async (t) => {
  const scene = await openScene(t)
  const { devnet, clock } = scene
  const [alice, bob] = [await scene.open('alice'), await scene.open('bob')]
  await scene.fund(alice, [100_000])
  const pass = async () => {
    for (const { keys, store, chain } of [alice, bob])
      await new WalletSync({ keys, store, chain, now: () => clock.now }).pass()
  }
  await pass()
  const paid = await alice.payTo({ identity: bob.identity, satoshis: 20_000 })
  await bob.internalizeAction({
    tx: paid.tx,
    outputs: [
      { outputIndex: paid.outputIndex, protocol: 'wallet payment', paymentRemittance: paid.remittance! },
    ],
    description: 'from alice',
  })
  const before = [await alice.balance(), await bob.balance()]
  const child = await bob.payTo({ identity: alice.identity, satoshis: 5000 })
  const own = parseTransaction((await devnet.chain.transaction(paid.txid))!) // just paid
  const [input] = own.inputs
  const twin = serializeTransaction({
    ...own,
    inputs: [{ ...input!, script: concat(Uint8Array.of(0x51), input!.script) }],
  })

  await devnet.call('devnet.mine', [toHex(twin)], false)
  await pass()
  await pass()

  for (const [at, wallet] of [alice, bob].entries()) {
    const { confirmed } = await wallet.balance()
    t.equal(confirmed, before[at]!.confirmed + before[at]!.unconfirmed)
    t.match(wallet.store.actionOf(txidOf(twin)), { state: 'mined' })
    t.equal(wallet.store.actionOf(paid.txid), undefined)
  }
  t.match(bob.store.actionOf(child.txid), { state: 'failed' })
  const { txid } = await bob.payTo({ identity: alice.identity, satoshis: 5000 })
  t.equal((await devnet.chain.status(txid)).state, 'mempool', 'its coin can be spent')
})

t.test('a backup of one transaction with thirty thousand outputs to us is readable', async (t) => {
  const keys = keysOf('alice')
  const outputs = Array.from({ length: 30_000 }, (_, vout) => ({ vout, description: 'payment', tags: [] }))
  const counts = { action: 1, coin: 0, receive: 0, change: 0, stake: 0 }
  const text = new BackupText({
    version: 1,
    identity: keys.identity,
    network: 'devnet',
    sequence: 1,
    taken: startMs,
    counts,
  })
  text.add({
    kind: 'action',
    action: {
      number: 0,
      reference: 'MA==',
      state: 'mined',
      txid: 'ab'.repeat(32),
      description: 'many',
      labels: [],
      created: startMs,
      isOutgoing: false,
      satoshis: 0,
      inputs: [],
      outputs,
    },
  })
  const { rows } = await readBackup(await text.seal(keys), { keys, network: 'devnet' })
  t.equal(rows.length, 1)
})
