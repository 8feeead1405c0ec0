/** Contracts of a whole relay, over its wire, and what its operator is told of them. */
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pino } from 'pino'
import t from 'tap'
import { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { openOrCreateKeyFile } from '../../contracts/wallet/key-file.ts'
import { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { readConfig } from '../../relay/config.ts'
import { keyFile, walletDirectory } from '../../relay/data-directory.ts'
import { startRelay } from '../../relay/relay.ts'
import { EscrowClient, openEscrowScene } from '../fixtures/escrow.ts'
import { askSigned, sealRecord } from '../fixtures/wire.ts'

t.setTimeout(120_000)

t.test('a contract is opened, used, paid and closed over the wire', async (t) => {
  const scene = await openEscrowScene(t)
  const data = join(scene.directory, 'data')
  const args = ['--data', data, '--listen', '127.0.0.1:0', '--min-free-disk', '0']
  const sells = ['--price', 'storageGBDay=4000', '--price', 'egressGB=100000']
  const config = readConfig([...args, ...sells, '--chain', `devnet:${scene.devnet.url}`], {})
  const start = () => startRelay(config, { log: pino({ level: 'silent' }), followEveryMs: 20 })
  const relay = await start()
  const contractsOf = async ({ url }: typeof relay) =>
    ((await (await fetch(`${url}/.well-known/relay`)).json()) as any).contracts
  t.match(
    await contractsOf(relay),
    { isOpen: true, isReady: false },
    'by default, and without coins it says so',
  )
  const lack = async () => ((await relay.operator.status({})) as any).contracts.stakes.lack
  while ((await lack()) === null) await setTimeout(20)
  t.match(await lack(), /^fund the wallet: a stake takes 50\d\d satoshi$/)
  await relay.close()
  const keys = await openOrCreateKeyFile(keyFile(data), {})
  const coins = { directory: walletDirectory(data), keys, chain: scene.devnet.chain, now: Date.now }
  const wallet = await EmbeddedWallet.open(coins)
  await scene.fund(wallet, [200_000])
  await wallet.close()

  const again = await start()
  t.teardown(() => again.close())
  const info = (await (await fetch(`${again.url}/.well-known/relay`)).json()) as any
  t.ok(info.features.includes('contracts'))
  const offer = ContractsOffer.parse(info.contracts)
  t.match(offer, { isOpen: true, network: 'devnet', prices: { storageGBDay: 4000 } })

  const alice = await scene.client('alice')
  scene.clock.now = Date.now()
  const me = new EscrowClient(alice.wallet, { ...scene, relay: keys })
  const deal = await me.deal({ prices: offer.prices })
  const say = (request: any) => askSigned(again, alice.wallet.keys, request)
  let opened: any
  do {
    opened = await say(deal.open)
    await setTimeout(20)
  } while (opened.code === 'ERR_BUSY')
  t.match(await contractsOf(again), { isReady: true })
  const { draft: _, ...signed } = await me.signed(deal, opened.result)
  const funded = await say(signed)
  t.match(funded.result, { type: 'ContractFunded', contract: deal.id })
  deal.joint = { txid: funded.result.txid, vout: 0 }
  await scene.devnet.node.mine(6)
  const deep = async () => (await again.operator.contract({ id: deal.id })).depth
  while ((await deep()) < 6) await setTimeout(20)
  const bytes = { content: new Uint8Array(100_000), ttl: 86_400, maxPulls: 1 }
  const write = async () => {
    const record = await sealRecord(again, alice.wallet.keys, keys.identity, bytes)
    return askSigned({ ...again }, alice.wallet.keys, { type: 'store', record: JSON.parse(record.text) })
  }
  const first = await write()
  t.match(first, { result: true, receipt: { charge: { purse: deal.id } } })
  for (let count = 0; ; count++) {
    const more = await write()
    if (more.code === undefined) continue
    t.match(more, { code: 'ERR_PAYMENT_REQUIRED', quote: { satoshis: String, owed: Number, credit: 140 } })
    const paid = more.quote.paidNeeded
    t.match((await say(await me.payment(deal, paid, 0))).result, { type: 'ContractPaid', paid })
    t.match(await write(), { result: true }, `after ${count} records`)
    break
  }
  const state = (await say({ type: 'ContractState', contract: deal.id })).result
  t.match(state, { state: 'active', paid: Number, payment: { settled: 0 } })
  t.match(await again.operator.drain({ isOn: true }), { isDraining: true, open: 1 })
  t.match(await again.operator.contracts({ isAll: false }), [
    { contract: deal.id, owner: alice.key, budget: 300_000 },
  ])
  const ended = await say(await me.refund(deal, state.owed + state.reserved))
  t.match(ended.result, { type: 'ContractClosed', contract: deal.id })
  t.match(await say((await me.deal()).open), { code: 'ERR_FORBIDDEN' })
  t.ok((await again.operator.check({}, new AbortController().signal)).ok)
})
