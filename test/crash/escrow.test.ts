/** A relay whose process is killed between any two messages of a contract. */
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { openOrCreateKeyFile } from '../../contracts/wallet/key-file.ts'
import { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { keyFile, walletDirectory } from '../../relay/data-directory.ts'
import { EscrowClient, openEscrowScene, prices } from '../fixtures/escrow.ts'
import { spawnRelay } from '../fixtures/relay.ts'
import { askSigned } from '../fixtures/wire.ts'

t.setTimeout(240_000)

t.test('kill -9 after each message', async (t) => {
  const scene = await openEscrowScene(t)
  const data = join(scene.directory, 'data')
  const sells = Object.entries(prices).flatMap(([name, price]) => ['--price', `${name}=${price}`])
  const args = [...sells, '--contract', 'poolSize=2', '--chain', `devnet:${scene.devnet.url}`]
  let relay = await spawnRelay(data, { args })
  await relay.kill('SIGTERM')
  const keys = await openOrCreateKeyFile(keyFile(data), {})
  const coins = { directory: walletDirectory(data), keys, chain: scene.devnet.chain, now: Date.now }
  const wallet = await EmbeddedWallet.open(coins)
  await scene.fund(wallet, [200_000])
  await wallet.close()
  const alice = await scene.client('alice')
  scene.clock.now = Date.now()
  const me = new EscrowClient(alice.wallet, { ...scene, relay: keys })

  relay = await spawnRelay(data, { args })
  t.teardown(() => relay.kill('SIGKILL'))
  /** Asks, kills, starts again, and asks the same: the answer is the same. */
  const say = async (request: any, isSame = true) => {
    const first = await askSigned(relay, alice.wallet.keys, request)
    await relay.kill('SIGKILL')
    relay = await spawnRelay(data, { args })
    const again = await askSigned(relay, alice.wallet.keys, request)
    if (isSame) t.same(again.result, first.result, request.type)
    t.ok(again.result, JSON.stringify(again))
    return again.result
  }
  const deal = await me.deal()
  while ((await askSigned(relay, alice.wallet.keys, deal.open)).code === 'ERR_BUSY') await setTimeout(50)
  const { draft: _, ...signed } = await me.signed(deal, await say(deal.open))
  deal.joint = { txid: (await say(signed)).txid, vout: 0 }
  t.match(await say(await me.payment(deal, 500, 200)), { paid: 500, settled: 200 })
  const closed = await say(await me.refund(deal, 600))
  t.match(await scene.devnet.chain.status(closed.txid), { state: 'mempool' })
})
