/** What the commands of both programs do with a wallet: two people, a devnet, a reorganisation, and a lost folder. */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseAddress } from '../../contracts/chain/http.ts'
import { NodeChain } from '../../contracts/chain/node.ts'
import { readBackup, readBackupFile } from '../../contracts/wallet/backup/backup.ts'
import { Desk } from '../../contracts/wallet/desk.ts'
import { countedKey, ownScript } from '../../contracts/wallet/own-keys.ts'
import { MarketError } from '../../market/errors.ts'
import { openDevnet, startMs } from '../fixtures/chain.ts'
import { keysOf, withMethods } from '../fixtures/wallet.ts'

async function scene(t: Test) {
  const devnet = await openDevnet(t)
  const folder = t.testdir()
  const open = async (name: string, options: { backup?: boolean; away?: () => boolean } = {}) => {
    const { backup = false, away = () => false } = options
    const node = new NodeChain(parseAddress(devnet.url), 'devnet')
    const chain = withMethods(node, {
      tip: () => (away() ? Promise.reject(unavailable()) : node.tip()),
    })
    const desk = await Desk.open({
      directory: join(folder, name),
      keys: keysOf(name),
      chain,
      now: () => startMs,
      ...(backup && { backupFile: join(folder, `${name}.backup`) }),
    })
    t.teardown(() => desk.close())
    return desk
  }
  return { devnet, folder, open }
}

t.test('coins from the faucet, a payment, and three blocks that are no more', async (t) => {
  const { devnet, open } = await scene(t)
  const [alice, bob] = [await open('alice'), await open('bob')]

  const { txid, network } = await alice.faucet(50_000)
  t.equal(network, 'devnet')
  t.match(await alice.balance(), { confirmed: 0, unconfirmed: 50_000, reserved: 0, network: 'devnet' })
  await devnet.node.mine(1)
  t.match(await alice.balance(), { confirmed: 50_000, unconfirmed: 0, isCurrent: true, unavailable: null })

  const { address } = await bob.address()
  const sent = await alice.send(address, 20_000)
  t.match(sent, { satoshis: 20_000, to: address, network: 'devnet' })
  t.ok(sent.fee > 0 && sent.fee < 50, `a fee of ${sent.fee}`)
  await devnet.node.mine(3)
  const rest = 30_000 - sent.fee
  t.match(await bob.balance(), { confirmed: 20_000, unconfirmed: 0 })
  t.match(await alice.balance(), { confirmed: rest, unconfirmed: 0 })

  await devnet.node.reorganize(3)
  t.match(await bob.balance(), { confirmed: 0, unconfirmed: 20_000 }, 'it waits to be mined again')
  t.match(await alice.balance(), { confirmed: 0, unconfirmed: rest })
  await devnet.node.mine(1)
  t.match(await bob.balance(), { confirmed: 20_000, unconfirmed: 0 })
  t.match(await alice.balance(), { confirmed: rest, unconfirmed: 0 })
  t.not((await bob.address()).address, address, 'a used address is not given out again')

  const [last, first] = await alice.history(10)
  t.match(last, { txid: sent.txid, satoshis: -20_000 - sent.fee, status: 'completed' })
  t.match(first, { txid, satoshis: 50_000 })
  t.equal((await alice.history(1)).length, 1)
  await t.rejects(alice.send(address, 1_000_000), { code: 'ERR_INSUFFICIENT_FUNDS' })
  await t.rejects(alice.send(`${address}x`, 1000), { code: 'ERR_MALFORMED' })
})

t.test('a chain that does not answer is said, and nothing is lost', async (t) => {
  const { devnet, open } = await scene(t)
  let isAway = false
  const desk = await open('carol', { away: () => isAway })
  await desk.faucet(9000)
  await devnet.node.mine(1)
  await desk.follow()

  isAway = true
  const balance = await desk.balance()
  t.match(balance, { confirmed: 9000, isCurrent: false, tip: null })
  t.match(balance.unavailable, /away/)
})

t.test('a lost folder: from the backup, from the bytes of one, from the key alone', async (t) => {
  const { devnet, folder, open } = await scene(t)
  const dave = await open('dave', { backup: true })
  await dave.faucet(7000)
  await devnet.node.mine(1)
  await dave.follow()
  const bytes = await dave.export()
  await dave.backup(join(folder, 'second.backup'))
  await dave.close()
  const signal = AbortSignal.timeout(60_000)

  for (const backup of [join(folder, 'dave.backup'), join(folder, 'second.backup'), bytes]) {
    await rm(join(folder, 'dave'), { recursive: true })
    const desk = await open('dave')
    t.match(await desk.recover({ backup, signal }), { found: 1, satoshis: 7000, notFound: [] })
    t.match(await desk.balance(), { confirmed: 7000 })
    await desk.close()
  }
  await rm(join(folder, 'dave'), { recursive: true })
  const desk = await open('dave')
  const report = await desk.recover({ birthday: { height: 0 }, signal })
  t.match(report, { found: 1, satoshis: 7000 })
  t.ok(report.notFound.length > 0, 'and it is said what a key alone cannot find')
  const stranger = await open('eve')
  await t.rejects(stranger.recover({ backup: await readFile(join(folder, 'dave.backup')), signal }), {
    code: 'ERR_MALFORMED',
  })
})

t.test('the backup that is kept is not written by a second writer', async (t) => {
  const { folder, open } = await scene(t)
  const desk = await open('dave', { backup: true })
  const path = join(folder, 'dave.backup')
  const of = { keys: keysOf('dave'), network: 'devnet' } as const
  const before = (await readBackupFile(path, of)).header.sequence

  await Promise.all([desk.backup(path), desk.backup(join(folder, '.', 'dave.backup')), desk.address()])
  await desk.backup(path)

  const { header } = await readBackupFile(path, of)
  t.equal(header.counts.receive, 1)
  t.ok(header.sequence > before)
})

t.test('exports have rising sequences, with a kept backup and without', async (t) => {
  const { open } = await scene(t)
  const of = { keys: keysOf('erin'), network: 'devnet' } as const
  for (const backup of [false, true]) {
    const desk = await open('erin', { backup })
    const [first, second] = [await desk.export(), await desk.export()]
    const headers = await Promise.all([first, second].map((bytes) => readBackup(bytes, of)))
    t.ok(headers[1]!.header.sequence > headers[0]!.header.sequence)
    await desk.close()
  }
})

t.test('a recovery that was interrupted is gone on with by whoever follows the chain', async (t) => {
  const { devnet, open } = await scene(t)
  await devnet.node.pay(ownScript(keysOf('frank'), countedKey('receive', 0)), 7000)
  await devnet.node.mine(120)
  const desk = await open('frank')
  await desk.follow()
  t.match(await desk.balance(), { confirmed: 0 })
  const controller = new AbortController()

  await t.rejects(
    desk.recover({
      birthday: { height: 0 },
      signal: controller.signal,
      onProgress: () => controller.abort(),
    }),
    { code: 'ERR_BUSY' },
  )

  t.match(await desk.balance(), { confirmed: 7000 }, 'the blocks from the birthday on are read')
})

t.test('where coins are worth something, nobody gives them away', async (t) => {
  const devnet = await openDevnet(t)
  const node = new NodeChain(parseAddress(devnet.url), 'regtest')
  t.equal(node.faucet, undefined)
  const desk = await Desk.open({
    directory: t.testdir(),
    keys: keysOf('alice'),
    chain: node,
    now: () => startMs,
  })
  t.teardown(() => desk.close())
  await t.rejects(desk.faucet(1), { code: 'ERR_FORBIDDEN' })
})

const unavailable = () => new MarketError('ERR_CHAIN_UNAVAILABLE', 'it is away')
