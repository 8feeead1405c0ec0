/** Coins agree with the chain: payments, blocks, reorganisations, double spends, other copies, a network that forgets. */
import t from 'tap'
import { p2pkhOfHash } from '../../contracts/transaction/script.ts'
import { WalletSync } from '../../contracts/wallet/sync/sync.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { openDevnet, spend } from '../fixtures/chain.ts'
import { withMethods } from '../fixtures/wallet.ts'
import { keysOf, openPurse, prove, withoutBlocks } from '../fixtures/wallet-sync.ts'

const elsewhere = p2pkhOfHash(new Uint8Array(20).fill(7))

t.test(
  'a payment is seen in the mempool, then in a block, and is proven to strangers at both times',
  async (t) => {
    const devnet = await openDevnet(t)
    const purse = await openPurse(t, devnet.chain)
    await purse.follow()

    const paid = spend(await devnet.coin(), { script: purse.script(3) })
    await devnet.node.submit(paid.bytes)
    const seen = await purse.follow()
    const [coin] = await purse.coins()

    t.match(seen, { found: 1, satoshis: paid.change.satoshis, isCurrent: true })
    t.match(coin, { outpoint: `${paid.txid}.0`, state: 'unproven', satoshis: paid.change.satoshis })
    t.match(coin?.key, { keyID: '3', counterparty: 'self' })
    await prove(purse, coin!.outpoint)
    t.equal(purse.wallet.store.counter('receive'), 4, 'no key is given out twice')
    t.match(await purse.wallet.balance(), { unconfirmed: paid.change.satoshis })

    await devnet.node.mine(1)
    t.match(await purse.follow(), { found: 0, proven: 0 }, 'the block is read and proves it')
    t.match(await purse.coins(), [{ state: 'mined' }])
    await prove(purse, coin!.outpoint)

    t.match(await purse.follow(), { found: 0, proven: 0, spent: 0, accepted: 0, sent: 0 })
    t.equal((await purse.coins()).length, 1)
    await purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 500 })
    await devnet.node.mine(1)
    await purse.follow()
    t.same(
      (await purse.coins()).map(({ state, spent }) => [state, spent !== undefined]),
      [
        ['mined', true],
        ['mined', false],
      ],
    )
  },
)

t.test(
  'a reorganisation returns a payment to the mempool; mined elsewhere, it has another proof',
  async (t) => {
    const devnet = await openDevnet(t)
    const purse = await openPurse(t, devnet.chain)
    await devnet.coin()
    const coin = await devnet.coin()
    await devnet.node.mine(1)
    await purse.follow()
    const paid = spend(coin, { script: purse.script(0) })
    await devnet.node.submit(paid.bytes)
    await devnet.node.mine(3)
    await purse.follow()
    const child = await purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 700 })
    const before = purse.wallet.store.known(paid.txid)

    await devnet.node.reorganize(3)
    const report = await purse.follow()

    t.match(report, { unproven: 1, failed: 0 })
    t.match(await purse.coins(), [{ state: 'unproven', spent: { by: child.txid } }, { state: 'unproven' }])
    await prove(purse, `${child.txid}.0`)
    t.equal(purse.wallet.store.known(paid.txid)?.path, undefined)

    await devnet.node.mine(1)
    await purse.follow()
    const after = purse.wallet.store.known(paid.txid)
    t.match(await purse.coins(), [{ state: 'mined' }, { state: 'mined' }])
    t.ok(after?.path !== undefined && after.path !== before?.path)
    await prove(purse, `${child.txid}.0`)
  },
)

t.test('what the new branch spends elsewhere fails, with what was made of it', async (t) => {
  for (const restarted of [false, true]) {
    const devnet = await openDevnet(t)
    let purse = await openPurse(t, devnet.chain)
    const coin = await devnet.coin()
    await devnet.node.mine(1)
    await purse.follow()
    const paid = spend(coin, { script: purse.script(0) })
    await devnet.node.submit(paid.bytes)
    await devnet.node.mine(3)
    await purse.follow()
    const child = await purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 700 })

    await devnet.node.reorganize(3, [spend(coin, { script: elsewhere }).bytes])
    if (restarted) {
      await purse.close()
      purse = await openPurse(t, devnet.chain, { directory: purse.directory })
    }
    await purse.follow()
    await purse.follow()

    t.match(await purse.coins(), [{ state: 'failed' }, { state: 'failed' }])
    t.match(purse.wallet.store.actionOf(paid.txid), { state: 'failed', failure: /spen[td]/ })
    t.match(purse.wallet.store.actionOf(child.txid), { state: 'failed' })
    t.match(await purse.wallet.balance(), { confirmed: 0, unconfirmed: 0 })

    await devnet.node.reorganize(4, [paid.bytes, fromHex(purse.wallet.store.known(child.txid)!.raw)])
    await purse.follow()
    t.match(
      await purse.coins(),
      [{ state: 'mined', spent: { by: child.txid } }, { state: 'mined' }],
      'and back',
    )
  }
})

t.test('what another copy of the wallet spends is spent here too, and its change is ours', async (t) => {
  const devnet = await openDevnet(t)
  const here = await openPurse(t, devnet.chain)
  await devnet.node.pay(here.script(0), 50_000)
  await devnet.node.pay(here.script(1), 60_000)
  await devnet.node.mine(1)
  await here.follow()
  const there = await openPurse(t, devnet.chain)
  await there.follow()
  t.equal((await there.coins()).length, 2)

  const sent = await there.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 55_000 })
  await here.follow()

  const balance = await there.wallet.balance()
  t.same(await here.wallet.balance(), balance)
  t.match(here.wallet.store.actionOf(sent.txid), { isOutgoing: true, state: 'unproven' })
  t.equal(here.wallet.store.counter('change'), there.wallet.store.counter('change'))
  await devnet.node.mine(1)
  await here.follow()
  await there.follow()
  t.same(await here.wallet.balance(), await there.wallet.balance())
  for (const coin of await here.coins()) if (coin.spent === undefined) await prove(here, coin.outpoint)
})

t.test('two copies spend one coin: the loser fails, and only what is lost stays spent', async (t) => {
  const devnet = await openDevnet(t)
  const here = await openPurse(t, devnet.chain)
  await devnet.node.pay(here.script(0), 50_000)
  await devnet.node.mine(1)
  await here.follow()
  const there = await openPurse(t, devnet.chain)
  await there.follow()

  await there.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 20_000 })
  await t.rejects(here.wallet.payTo({ identity: keysOf('carol').identity, satoshis: 10_000 }), {
    code: 'ERR_TRANSACTION_REFUSED',
  })
  await here.follow()

  t.same(await here.wallet.balance(), await there.wallet.balance())
  await here.wallet.payTo({ identity: keysOf('carol').identity, satoshis: 10_000 })
  await there.follow()
  t.same(await here.wallet.balance(), await there.wallet.balance())
})

t.test(
  'a spend by another copy that the new branch rules out never was: its coin is ours again',
  async (t) => {
    const devnet = await openDevnet(t)
    const here = await openPurse(t, devnet.chain)
    const coin = await devnet.coin(40_000)
    await devnet.node.pay(here.script(0), 50_000)
    await devnet.node.mine(1)
    await here.follow()
    // The other copy spends our coin together with one that came after, in a block that is taken back.
    const late = spend(coin, { script: here.script(1) })
    await devnet.node.submit(late.bytes)
    await devnet.node.mine(1)
    await here.follow()
    const there = await openPurse(t, devnet.chain)
    await there.follow()
    const taken = await there.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 80_000 })
    await devnet.node.mine(1)
    await here.follow()
    t.match(await here.coins(), [
      { spent: { by: taken.txid } },
      { spent: { by: taken.txid } },
      { state: 'mined' },
    ])

    await devnet.node.reorganize(2, [spend(coin, { script: elsewhere }).bytes])
    for (const purse of [here, there]) {
      await purse.follow()
      await purse.follow()

      const balance = await purse.wallet.balance()
      t.same(balance, { confirmed: 50_000, unconfirmed: 0, reserved: 0 })
      t.match(purse.wallet.store.actionOf(taken.txid), { state: 'failed' })
    }
  },
)

t.test('what the network has forgotten is sent again, ancestors first', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  const coin = await devnet.coin()
  await devnet.node.mine(1)
  await purse.follow()
  const paid = spend(coin, { script: purse.script(0) })
  await devnet.node.submit(paid.bytes)
  await purse.follow()
  const txids = [paid.txid]
  for (let left = 3; left > 0; left--)
    txids.push((await purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 100 })).txid)

  devnet.node.mempool.clear()
  t.match(await devnet.chain.status(txids[3]!), { state: 'unknown' })
  const report = await purse.follow()

  t.match(report, { sent: 4, failed: 0, waiting: [] })
  for (const txid of txids) t.match(await devnet.chain.status(txid), { state: 'mempool' })
  await devnet.node.mine(1)
  t.match(await purse.follow(), { failed: 0 })
  t.ok((await purse.coins()).every(({ state }) => state === 'mined'))
})

t.test('without an answer nothing changes, and that is reported', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await devnet.node.pay(purse.script(0), 50_000)
  await devnet.node.mine(1)

  const methods = ['*', 'getblockchaininfo', 'getblock', 'getblockhash', 'getmerkleproof2', 'getrawmempool']
  for (const method of methods) {
    await devnet.call('devnet.fault', { method, kind: 'refuse', times: 1000 })
    const report = await purse.sync.pass()
    t.match(report, { isCurrent: false, unavailable: { code: 'ERR_CHAIN_UNAVAILABLE' } }, method)
    await devnet.call('devnet.fault')
  }
  t.strictSame(
    (await purse.coins()).map(({ state }) => state),
    ['mined'],
    'its block was read when the mempool alone was mute',
  )
  const report = await purse.follow()
  t.equal(report.unavailable, undefined)
  t.equal(report.isCurrent, true)
  t.match(await purse.coins(), [{ state: 'mined', satoshis: 50_000 }])
})

t.test('who asks while a pass runs hears of what came after that one had looked', async (t) => {
  const devnet = await openDevnet(t)
  let [looked, goOn] = [() => {}, () => {}]
  const isLooked = new Promise<void>((resolve) => {
    looked = resolve
  })
  const isOver = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const slow = withMethods(devnet.chain, {
    tip: async () => {
      const tip = await devnet.chain.tip()
      looked()
      await isOver
      return tip
    },
  })
  const purse = await openPurse(t, slow)
  const { height } = devnet.node.chain.tip

  const early = purse.sync.pass()
  await isLooked
  await devnet.node.mine(1)
  const late = [purse.sync.pass(), purse.sync.pass()]
  goOn()

  t.match(await early, { tip: { height } })
  t.match(await late[0], { tip: { height: height + 1 } })
  t.equal(late[0], late[1], 'and all who ask meanwhile share one')
})

t.test('two passes at once are one; reservations that are over are released', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await devnet.node.pay(purse.script(0), 50_000)
  await devnet.node.mine(1)
  t.equal(purse.sync.pass(), purse.sync.pass())
  await purse.follow()
  await purse.wallet.createAction({
    description: 'never signed',
    outputs: [{ lockingScript: toHex(elsewhere), satoshis: 1000, outputDescription: 'payment' }],
    options: { signAndProcess: false },
  })
  t.match(await purse.wallet.balance(), { confirmed: 0, reserved: 50_000 })
  const later = new WalletSync({ ...purse, store: purse.wallet.store, chain: devnet.chain, now: () => 8e15 })

  t.match(await later.pass(), { released: 1 })

  t.match(await purse.wallet.balance(), { confirmed: 50_000, reserved: 0 })
})

t.test(
  'where blocks cannot be read, what is known is proven, taken back and lost all the same',
  async (t) => {
    const devnet = await openDevnet(t)
    const first = await openPurse(t, devnet.chain)
    await devnet.node.pay(first.script(0), 50_000)
    await devnet.node.mine(1)
    await first.follow()
    const place = first.wallet.store.place()
    await first.close()
    const purse = await openPurse(t, withoutBlocks(devnet.chain), { directory: first.directory })

    const paid = await purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 1000 })
    t.match(await purse.follow(), { proven: 0, scanned: undefined })
    await devnet.node.mine(2)
    t.match(await purse.follow(), { proven: 1 })
    await devnet.node.reorganize(2)
    t.match(await purse.follow(), { unproven: 1, proven: 0 })
    await devnet.node.mine(1)
    t.match(await purse.follow(), { unproven: 0, proven: 1 })
    t.match(purse.wallet.store.actionOf(paid.txid), { state: 'mined' })
    await prove(purse, `${paid.txid}.0`)
    t.same(purse.wallet.store.place(), place, 'nobody read a block')
    t.match((await purse.wallet.getHeaderForHeight({ height: 1 })).header, /^[0-9a-f]{160}$/)

    const copy = await openPurse(t, devnet.chain)
    const { height } = devnet.node.chain.tip
    await copy.wallet.store.change(async (batch) =>
      batch.putPlace((await devnet.chain.placeAt(height - 20))!),
    )
    await copy.follow()
    const taken = await copy.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 45_000 })
    await t.rejects(purse.wallet.payTo({ identity: keysOf('carol').identity, satoshis: 44_000 }), {
      code: 'ERR_TRANSACTION_REFUSED',
    })
    await purse.follow()
    t.match(await purse.wallet.balance(), { confirmed: 0, unconfirmed: 0 }, 'what is known of is lost')
    t.match(await devnet.chain.status(taken.txid), { state: 'mempool' })
  },
)

t.test('a fork deeper than proofs are checked for at once is noticed, also after a restart', async (t) => {
  const devnet = await openDevnet(t)
  let purse = await openPurse(t, devnet.chain)
  const coin = await devnet.coin()
  await devnet.node.mine(1)
  await purse.follow()
  const paid = spend(coin, { script: purse.script(0) })
  await devnet.node.submit(paid.bytes)
  await devnet.node.mine(20)
  await purse.follow()
  await purse.close()

  await devnet.node.reorganize(20, [spend(coin, { script: elsewhere }).bytes])
  await devnet.node.mine(200)
  purse = await openPurse(t, devnet.chain, { directory: purse.directory })
  const report = await purse.follow()

  t.match(report, { unproven: 1, failed: 1, scanned: { height: devnet.node.chain.tip.height } })
  t.match(await purse.coins(), [{ state: 'failed' }])
})

t.test('what is mined straight to a key waits in a basket of its own', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await purse.follow()
  await devnet.node.mine(1, { script: purse.script(0) })

  await purse.follow()

  t.match(await purse.wallet.listOutputs({ basket: 'coinbase' }), { totalOutputs: 1 })
  t.match(await purse.wallet.balance(), { confirmed: 0, unconfirmed: 0 })
  await t.rejects(purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 1000 }), {
    code: 'ERR_INSUFFICIENT_FUNDS',
  })
})

t.test('a spend in the mempool that is listed before the payment it spends is not missed', async (t) => {
  const devnet = await openDevnet(t)
  const there = await openPurse(t, devnet.chain)
  const here = await openPurse(t, devnet.chain)
  await here.follow()
  await devnet.node.pay(there.script(0), 50_000)
  await there.follow()
  await there.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 1000 })
  await there.follow()
  const real = devnet.chain
  const reversed = { ...withoutBlocks(real), canScan: true, block: (height: number) => real.block(height) }
  const sync = new WalletSync({
    ...{ keys: here.keys, store: here.wallet.store, now: () => 0 },
    chain: { ...reversed, mempool: async () => [...(await real.mempool())].reverse() },
  })

  while (!(await sync.pass()).isCurrent);

  t.same(await here.wallet.balance(), await there.wallet.balance())
})

t.test('an action about which the network does not answer holds up none behind it', async (t) => {
  const devnet = await openDevnet(t)
  let mute = ''
  const chain = withMethods(devnet.chain, {
    status: async (txid) =>
      txid === mute
        ? Promise.reject(new MarketError('ERR_CHAIN_UNAVAILABLE', 'no word of that one'))
        : devnet.chain.status(txid),
  })
  const purse = await openPurse(t, devnet.chain)
  await devnet.node.pay(purse.script(0), 50_000)
  await devnet.node.pay(purse.script(1), 60_000)
  await devnet.node.mine(1)
  await purse.follow()
  const first = await purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 100 })
  const second = await purse.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 100 })
  await devnet.node.mine(1)

  mute = first.txid
  const sync = new WalletSync({
    ...purse,
    store: purse.wallet.store,
    chain: withoutBlocks(chain),
    now: () => 0,
  })
  const report = await sync.pass()

  t.match(report, { proven: 1, isCurrent: false, unavailable: { code: 'ERR_CHAIN_UNAVAILABLE' } })
  t.match(purse.wallet.store.actionOf(second.txid), { state: 'mined' })
  mute = ''
  t.match(await sync.pass(), { proven: 1, isCurrent: true })
})
