/** A wallet is found again: by its key what was paid to counted keys, by key and backup everything. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parsePath, rootOf } from '../../contracts/transaction/merkle-path.ts'
import { makeBackup, readBackup } from '../../contracts/wallet/backup/backup.ts'
import { type Database, openCoinDatabase } from '../../contracts/wallet/coins/database.ts'
import { CoinStore } from '../../contracts/wallet/coins/store.ts'
import { type RecoverOptions, recover } from '../../contracts/wallet/backup/recover.ts'
import { syncLimits } from '../../contracts/wallet/sync/sync.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { type Devnet, openDevnet, startMs } from '../fixtures/chain.ts'
import { compiled } from '../fixtures/compiled.ts'
import { keysOf, openPurse, type Purse, prove } from '../fixtures/wallet-sync.ts'

const alice = keysOf('alice')
const now = () => startMs
const signal = new AbortController().signal
const birthday = { height: 0 }
/** Each key costs time; here none is farther ahead, but where it says so. */
const recoveryAhead = 60

async function emptyStore(t: Test, directory: string, database = openCoinDatabase) {
  const store = await CoinStore.open(directory, {
    identity: alice.identity,
    network: 'devnet',
    now,
    database,
  })
  t.teardown(() => store.close())
  return store
}

const parts = (store: CoinStore, { chain }: Pick<Devnet, 'chain'>): RecoverOptions => ({
  ...{ keys: alice, store, chain, now, signal, recoveryAhead },
})

/** What a wallet may spend, as everybody sees it. */
async function holdings(store: CoinStore) {
  const held: Record<string, string> = {}
  for await (const { outpoint, state, spent, basket } of store.coins())
    if (spent === undefined && basket !== undefined) held[outpoint] = `${state} ${basket}`
  return held
}

/** Pays keys of a wallet, several to a block. */
async function payAll(
  { node }: Devnet,
  purse: Purse,
  keys: readonly (readonly ['receive' | 'change' | 'stake', number])[],
) {
  for (const [at, [kind, number]] of keys.entries()) {
    await node.pay(purse.script(number, kind), 1000 + number)
    if (at % 25 === 24) await node.mine(1)
  }
  await node.mine(1)
}

t.test('by its key alone, after 120 keys with holes under the gap, paid in any order', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  const keys: ['receive' | 'change' | 'stake', number][] = []
  for (let number = 0; number < 120; number += 3) keys.push(['receive', number], ['change', 119 - number])
  keys.push(['receive', 168], ['receive', 217], ['stake', 49])
  await payAll(devnet, purse, keys)
  const store = await emptyStore(t, join(t.testdir(), 'found'))
  const told: number[] = []

  const report = await recover({
    ...parts(store, devnet),
    recoveryAhead: 240,
    birthday,
    onProgress: ({ height }) => told.push(height),
  })

  const satoshis = keys.reduce((sum, [, number]) => sum + 1000 + number, 0)
  const { height } = devnet.node.chain.tip
  t.match(report, { found: keys.length, satoshis, from: 0, to: height, gap: 50 })
  t.match(report.notFound, [/BRC-29/, /baskets/, /gap/, /not sent/])
  t.equal(told.at(-1), height)
  t.same([store.counter('receive'), store.counter('change'), store.counter('stake')], [218, 120, 50])
  t.equal(store.recovery(), undefined)
  t.match(await recover({ ...parts(store, devnet), birthday }), { found: keys.length, satoshis }, 'again')
})

t.test('keys that came into view too late are looked for again from the birthday on', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  // The farthest key is paid first, out of view; what leads there follows.
  const far = 2 * recoveryAhead
  await devnet.node.pay(purse.script(far), 7777)
  await devnet.node.mine(syncLimits.stepBlocks + 1)
  await devnet.node.pay(purse.script(far - 20), 5555)
  await devnet.node.mine(syncLimits.stepBlocks + 1)
  await devnet.node.pay(purse.script(recoveryAhead - 10), 3333)
  await devnet.node.mine(syncLimits.stepBlocks + 1)
  const store = await emptyStore(t, join(t.testdir(), 'found'))

  t.match(await recover({ ...parts(store, devnet), birthday }), { found: 3, satoshis: 7777 + 5555 + 3333 })
})

t.test('from a birthday: what is older is not found; a time is a height', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await payAll(devnet, purse, [['receive', 0]])
  const { height } = devnet.node.chain.tip
  const { time } = devnet.node
  await devnet.node.mine(3)
  await payAll(devnet, purse, [['receive', 1]])
  const folder = t.testdir()

  const late = await emptyStore(t, join(folder, 'late'))
  t.match(await recover({ ...parts(late, devnet), birthday: { height: height + 1 } }), {
    found: 1,
    from: height + 1,
  })
  const timed = await emptyStore(t, join(folder, 'timed'))
  t.match(await recover({ ...parts(timed, devnet), birthday: { time } }), { found: 2 })
  const none = await emptyStore(t, join(folder, 'none'))
  await t.rejects(recover(parts(none, devnet)), { code: 'ERR_MALFORMED' })
  const aborted = { ...parts(none, devnet), birthday, signal: AbortSignal.abort() }
  await t.rejects(recover(aborted), { code: 'ERR_BUSY' })
})

t.test('by key and backup everything comes back, and can be spent', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  const bob = await openPurse(t, devnet.chain, { keys: keysOf('bob') })
  await devnet.node.pay(bob.script(0), 100_000)
  await devnet.node.pay(purse.script(0), 30_000)
  await devnet.node.mine(1)
  await bob.follow()
  await purse.follow()
  const paid = await bob.wallet.payTo({ identity: alice.identity, satoshis: 20_000 })
  await purse.wallet.internalizeAction({
    tx: paid.tx,
    description: 'what bob owed me',
    labels: ['debts'],
    outputs: [
      { outputIndex: paid.outputIndex, protocol: 'wallet payment', paymentRemittance: paid.remittance! },
    ],
  })
  const kept = await bob.wallet.createAction({
    description: 'a joint output',
    outputs: [{ lockingScript: '51', satoshis: 900, outputDescription: 'anyone may spend it' }],
    options: { randomizeOutputs: false },
  })
  await purse.wallet.internalizeAction({
    tx: kept.tx!,
    description: 'a joint output',
    outputs: [
      {
        outputIndex: 0,
        protocol: 'basket insertion',
        insertionRemittance: { basket: 'joints', customInstructions: '{"terms":1}', tags: ['open'] },
      },
    ],
  })
  await devnet.node.mine(1)
  await purse.follow()
  const backup = await readBackup(await makeBackup({ keys: alice, store: purse.wallet.store, now }, 1), {
    keys: alice,
    network: 'devnet',
  })
  const before = await holdings(purse.wallet.store)
  // After the backup: something that the key alone finds.
  await devnet.node.pay(purse.script(1), 4000)
  await devnet.node.mine(1)
  await purse.close()

  const directory = join(t.testdir(), 'restored')
  const store = await emptyStore(t, directory)
  t.match(await recover({ ...parts(store, devnet), backup }), { found: 4, satoshis: 54_900, notFound: [] })
  t.match(await holdings(store), before)
  await t.rejects(recover({ ...parts(store, devnet), backup }), { code: 'ERR_CONFLICT' }, 'nothing is merged')
  await store.close()

  const again = await openPurse(t, devnet.chain, { directory })
  t.match(
    await again.wallet.listOutputs({ basket: 'joints', includeCustomInstructions: true, includeTags: true }),
    {
      totalOutputs: 1,
      outputs: [{ satoshis: 900, customInstructions: '{"terms":1}', tags: ['open'] }],
    },
  )
  t.match(await again.wallet.listActions({ labels: ['debts'] }), {
    actions: [{ description: 'what bob owed me' }],
  })
  const all = await again.wallet.payTo({ identity: keysOf('bob').identity, satoshis: 53_000 })
  t.match(await devnet.chain.status(all.txid), { state: 'mempool' })
  await prove(again, `${all.txid}.0`)

  const alone = await emptyStore(t, join(t.testdirName, 'alone'))
  const change = await recover({ ...parts(alone, devnet), birthday })
  t.equal(change.found, 1, 'of all that only the change of the last payment is on a counted key')
  t.ok(change.satoshis < 1000)
})

t.test('a backup of a branch that is gone: its proofs are made anew', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await payAll(devnet, purse, [
    ['receive', 0],
    ['receive', 1],
  ])
  await purse.follow()
  const made = await makeBackup({ keys: alice, store: purse.wallet.store, now }, 1)
  const backup = await readBackup(made, { keys: alice, network: 'devnet' })
  await devnet.node.reorganize(3)
  await devnet.node.mine(1)
  const store = await emptyStore(t, join(t.testdir(), 'restored'))

  t.match(await recover({ ...parts(store, devnet), backup }), { found: 2 })

  for await (const { outpoint, state } of store.coins()) {
    const txid = outpoint.slice(0, 64)
    const path = parsePath(fromHex(store.known(txid)!.path!))
    t.equal(state, 'mined')
    t.ok(await devnet.chain.isValidRootForHeight(rootOf(path, txid).root, path.height))
  }
})

t.test('a crash at every write: the next run goes on, and finds the same', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await payAll(
    devnet,
    purse,
    Array.from({ length: 6 }, (_, number) => ['receive', number] as const),
  )
  const folder = t.testdir()
  const whole = await emptyStore(t, join(folder, 'whole'))
  const expected = await recover({ ...parts(whole, devnet), birthday })

  let writes = 0
  for (let crashes = 0; ; crashes++) {
    let left = 2
    const database = async (...args: Parameters<typeof openCoinDatabase>): Promise<Database> => {
      const real = await openCoinDatabase(...args)
      return {
        ...real,
        write: async (changes) => {
          if (left-- === 0) throw new Error('a crash')
          writes++
          await real.write(changes)
        },
      }
    }
    const store = await emptyStore(t, join(folder, 'torn'), database)
    try {
      t.match(await recover({ ...parts(store, devnet), birthday }), { found: expected.found })
      t.same(await holdings(store), await holdings(whole))
      t.ok(crashes > 2, `${crashes} crashes, ${writes} writes`)
      break
    } catch (error) {
      t.match(error, { code: 'ERR_INTERNAL' })
    } finally {
      await store.close()
    }
  }
})

t.test('killed in the middle, it goes on where it was', async (t) => {
  const devnet = await openDevnet(t)
  const purse = await openPurse(t, devnet.chain)
  await payAll(
    devnet,
    purse,
    Array.from({ length: 30 }, (_, number) => ['receive', number] as const),
  )
  await devnet.node.mine(3 * syncLimits.blocks)
  await payAll(devnet, purse, [['receive', 60]])
  const directory = join(t.testdir(), 'killed')
  const args = [compiled('test/fixtures/wallet-sync-child.ts'), toHex(sha256('alice')), directory, devnet.url]

  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')

  const store = await emptyStore(t, directory)
  const place = store.place()
  t.ok(store.recovery() !== undefined && place !== undefined && place.height >= syncLimits.blocks - 1)
  const from: number[] = []
  const onProgress = ({ height }: { height: number }) => from.push(height)
  t.match(await recover({ ...parts(store, devnet), birthday, onProgress }), { found: 31, from: 0 })
  t.ok(from[0]! > place!.height, 'blocks that were read are not read again')
})
