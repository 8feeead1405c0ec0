/** The relay's coins: following a chain, orders running and stopped, chains that are away or another's, backup and restore. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { readConfig } from '../../relay/config.ts'
import { type Io, exitCodes } from '../../relay/operator/command.ts'
import { commands } from '../../relay/operator/commands.ts'
import { control } from '../../relay/operator/control.ts'
import { startRelay } from '../../relay/relay.ts'
import { openDevnet, serve } from '../fixtures/chain.ts'

t.setTimeout(280_000)

/** Starts a relay in this process that has a chain, and hears its log. */
async function start(t: Test, data: string, args: readonly string[], options: { devnetUrl?: string } = {}) {
  const lines: string[] = []
  const waiting: (() => void)[] = []
  const log = pino(
    { level: 'info', base: {} },
    {
      write: (line: string) => {
        lines.push(line)
        for (const look of waiting) look()
      },
    },
  )
  const all = ['--data', data, '--listen', '127.0.0.1:0', '--min-free-disk', '0', '--open', ...args]
  const relay = await startRelay(readConfig(all, {}), { log, followEveryMs: 200, ...options })
  let isOpen = true
  const close = async () => {
    if (!isOpen) return
    isOpen = false
    await relay.close()
  }
  t.teardown(close)
  const said = (message: string) =>
    new Promise<any>((resolve) => {
      const look = () => {
        const line = lines.find((text) => text.includes(`"msg":"${message}"`))
        if (line !== undefined) resolve(JSON.parse(line))
      }
      waiting.push(look)
      look()
    })
  const status = async () => (await control(join(data, 'control.json'), 'status')) as any
  const info = async () => (await (await fetch(`${relay.url}/.well-known/relay`)).json()) as any
  return { ...relay, close, said, status, info, log: () => lines.join('') }
}

async function relayd(
  data: string,
  [name = '', ...args]: readonly string[],
  io: Partial<Io> = {},
): Promise<{ code: number; lines: string[] }> {
  const lines: string[] = []
  const { signal } = new AbortController()
  const world = {
    env: { RELAYD_DATA: data },
    isTerminal: false,
    signal,
    out: (line: string) => lines.push(line),
  }
  const code = await commands[name]!.run({ ...world, ...io }, args)
  return { code, lines }
}
const wallet = async (data: string, ...args: string[]) =>
  JSON.parse((await relayd(data, ['wallet', ...args])).lines[0]!)

/** A relay's, and one beside it. */
function folders(t: Test, name = 'data'): [string, string] {
  const folder = t.testdirName
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return [join(folder, name), folder]
}

const freshAddress = 'mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn'

t.test('a wallet while the relay runs and while it does not, and what is remembered', async (t) => {
  const devnet = await openDevnet(t)
  const [data, folder] = folders(t)
  const kept = join(folder, 'kept.walletbackup')
  const relay = await start(t, data, ['--chain', `devnet:${devnet.url}`, '--backup', kept])

  t.equal((await relay.info()).network, 'devnet')
  const { txid, network } = await wallet(data, 'faucet', '50000')
  t.match({ txid, network }, { txid: /^[0-9a-f]{64}$/, network: 'devnet' })
  t.match((await relay.status()).wallet, {
    network: 'devnet',
    chain: /worthless coins/,
    isCurrent: true,
    unavailable: null,
    balance: { confirmed: 0, unconfirmed: 50_000, reserved: 0 },
  })
  await devnet.node.mine(1)
  t.match(await wallet(data, 'balance'), {
    confirmed: 50_000,
    network: 'devnet',
    tip: devnet.node.chain.tip.height,
  })
  const { address } = await wallet(data, 'address')
  t.match(address, /^[mn]/)
  const sent = await wallet(data, 'send', freshAddress, '20000', '--yes')
  t.match(sent, {
    satoshis: 20_000,
    to: freshAddress,
    network: 'devnet',
    left: 30_000 - sent.fee,
  })
  t.match((await wallet(data, 'history')).entries, [{ satoshis: -20_000 - sent.fee }, { satoshis: 50_000 }])
  const copy = join(folder, 'copy')
  await wallet(data, 'backup', copy)
  t.ok(statSync(copy).size > 100)
  t.equal(statSync(kept).mode & 0o777, 0o600)
  await t.rejects(relayd(data, ['wallet', 'recover', '--backup', copy]), { message: /stop the relay first/ })
  await t.rejects(relayd(data, ['wallet', 'balance', '--chain', 'devnet']), { code: 'ERR_CONFLICT' })
  await t.rejects(relayd(data, ['wallet', 'connect', 'http://x']), { code: 'ERR_FORBIDDEN' })
  await relay.close()

  t.notOk(relay.log().includes('pass:word'), 'no password in the log')
  t.equal(statSync(join(data, 'chain.json')).mode & 0o777, 0o600)
  await devnet.node.mine(1)
  const left = 30_000 - sent.fee
  t.match(await wallet(data, 'balance'), { confirmed: left, isCurrent: true }, 'without options, by itself')
  const human = await relayd(data, ['wallet', 'balance', '--human'])
  t.match(human.lines[0]!.split('\n'), [
    `${left} satoshi on devnet (worth nothing)`,
    `  ${left} confirmed`,
    /^ {2}as of block \d+, devnet /,
  ])
  const listed = await relayd(data, ['wallet', 'history', '--human'])
  t.match(listed.lines[0], /^TXID +SATOSHIS +STATUS +NETWORK +DESCRIPTION\n/)
  for (const [words, message] of [
    [['sned'], /there is no wallet command sned: balance, /],
    [['send', freshAddress, '0'], 'SATOSHI takes a whole number of satoshi above 0'],
    [['send', freshAddress, '2100000000000001'], 'SATOSHI is more than all coins there are'],
    [['send', freshAddress, '-5'], /-5 is not a whole number above 0/],
    [['recover', '--birthday', '2999-01-01'], '--birthday is in the future'],
    [['recover', '--birthday', '9999999'], /--birthday is in the future: the newest block/],
    [['recover'], /in use and follow the chain: there is nothing to recover/],
    [['recover', '--backup', copy], /move the folder .*wallet away first/],
  ] as const)
    await t.rejects(relayd(data, ['wallet', ...words]), { message }, words.join(' '))

  const asked: string[] = []
  const free: Promise<unknown>[] = []
  const ask = (yes: boolean) => (question: string) => {
    asked.push(question)
    free.push(wallet(data, 'address'))
    return Promise.resolve(yes)
  }
  await t.rejects(relayd(data, ['wallet', 'send', freshAddress, '10'], { ask: ask(false) }), {
    message: 'nothing was sent',
  })
  t.match(await Promise.all(free), [{ network: 'devnet' }], 'who is asked keeps the coins from nobody')
  t.match(asked, [
    `send 10 satoshi on devnet (worth nothing) and the fee to ${freshAddress}? There are ${left}.`,
  ])
  t.match(await wallet(data, 'balance'), { confirmed: left })

  rmSync(join(data, 'wallet'), { recursive: true })
  const report = await wallet(data, 'recover', '--backup', copy)
  t.match(report, { satoshis: left, notFound: [], network: 'devnet', backup: copy })
  t.match(JSON.parse(readFileSync(join(data, 'chain.json'), 'utf8')), { backup: copy })
  rmSync(join(data, 'wallet'), { recursive: true })
  t.match(await wallet(data, 'balance'), { confirmed: left }, 'a lost folder comes back from the kept backup')
  rmSync(join(data, 'wallet'), { recursive: true })
  rmSync(copy)
  const byKey = await wallet(data, 'recover', '--birthday', '0')
  t.match(byKey, { satoshis: left, backup: null, notFound: [String] })
  t.ok(existsSync(copy), 'and the backup is kept again')
})

t.test('a chain that is away keeps nobody from his records; it is followed when it is there', async (t) => {
  const devnet = await openDevnet(t)
  let isAway = true
  const url = await serve(t, async (request, response) => {
    if (isAway) return void request.socket.destroy()
    const { origin, username, password } = new URL(devnet.url)
    const body = await new Response(request as any).text()
    const authorization = `Basic ${btoa(`${username}:${decodeURIComponent(password)}`)}`
    const answer = await fetch(origin, { method: 'POST', body, headers: { authorization } })
    response.writeHead(answer.status).end(await answer.text())
  })
  const [data] = folders(t)
  const relay = await start(t, data, ['--chain', `devnet:${url}`])

  t.equal((await fetch(`${relay.url}/health`)).status, 200)
  t.equal((await relay.info()).network, 'devnet')
  await relay.said('the coins cannot follow the chain')
  t.match((await relay.status()).wallet, {
    tip: null,
    isCurrent: false,
    unavailable: String,
    balance: { confirmed: 0 },
  })
  t.match(await wallet(data, 'balance'), { isCurrent: false, confirmed: 0 })
  await t.rejects(relayd(data, ['wallet', 'faucet']), { code: 'ERR_CHAIN_UNAVAILABLE' })
  await t.rejects(relayd(data, ['wallet', 'send', freshAddress, '5']), { code: /ERR_(CHAIN_UN|INSUFF)/ })
  isAway = false
  await relay.said('the coins follow the chain again')
  t.match((await relay.status()).wallet, {
    tip: devnet.node.chain.tip.height,
    isCurrent: true,
    unavailable: null,
  })
  t.equal(relay.log().match(/cannot follow/g)?.length, 1)
})

t.test('money of another network is refused, and not remembered', async (t) => {
  const devnet = await openDevnet(t)
  const [data] = folders(t)
  await t.rejects(start(t, data, ['--chain', `node:${devnet.url}`, '--network', 'regtest']), {
    code: 'ERR_CONFLICT',
    message: /is on devnet, not on regtest/,
  })
  t.notOk(existsSync(join(data, 'chain.json')))
  const relay = await start(t, data, ['--chain', `devnet:${devnet.url}`])
  await relay.close()
  await t.rejects(start(t, data, ['--chain', 'node:http://127.0.0.1:9', '--network', 'test']), {
    code: 'ERR_CONFLICT',
    message: 'these coins are of the network devnet, not test',
  })
  const again = await start(t, data, [])
  t.equal(again.network, 'devnet', 'what was remembered stays')
})

t.test('--chain devnet starts one inside when none answers, and finds it otherwise', async (t) => {
  const [data] = folders(t)
  const first = await start(t, data, ['--chain', 'devnet'], { devnetUrl: 'http://127.0.0.1:0' })
  t.match(first, { network: 'devnet', devnetUrl: /^http:\/\/127\.0\.0\.1:\d+$/ })
  await first.said('a devnet runs in this relay: its coins are worth nothing')
  const second = await start(t, folders(t, 'other')[0], ['--chain', 'devnet'], {
    devnetUrl: first.devnetUrl!,
  })
  t.equal(second.devnetUrl, undefined)
  t.match(await second.info(), { network: 'devnet' })
  await wallet(data, 'faucet', '700')
  await second.close()
  await first.close()

  const other = await serve(t, (_request, response) => void response.writeHead(404).end('no'))
  await t.rejects(start(t, folders(t, 'other')[0], ['--chain', 'devnet'], { devnetUrl: other }), {
    message: `what listens on ${other} is no devnet; name another with --chain devnet:URL`,
  })
  const again = await start(t, data, [], { devnetUrl: 'http://127.0.0.1:0' })
  const { confirmed, unconfirmed } = await wallet(data, 'balance')
  t.equal(confirmed + unconfirmed, 700, 'its chain was kept')
  await again.close()
})

t.test('a relay and its coins come back from a backup, also without its chain at first', async (t) => {
  const devnet = await openDevnet(t)
  const [data, folder] = folders(t)
  const chain = ['--chain', `devnet:${devnet.url}`]
  const relay = await start(t, data, chain)
  await wallet(data, 'faucet', '9000')
  await devnet.node.mine(1)
  await wallet(data, 'balance')
  const [while_, stopped] = [join(folder, 'serving'), join(folder, 'stopped')]
  t.match(JSON.parse((await relayd(data, ['backup', while_])).lines[0]!), { walletBytes: Number })
  await relay.close()
  t.match(JSON.parse((await relayd(data, ['backup', stopped])).lines[0]!), { walletBytes: Number })

  for (const [index, backup] of [while_, stopped].entries()) {
    const restored = join(folder, `new-${index}`)
    const made = await relayd(restored, ['restore', backup])
    t.match([made.code, JSON.parse(made.lines[0]!)], [exitCodes.ok, { hasWallet: true }])
    t.ok(existsSync(join(restored, 'wallet.backup')))
    await t.rejects(start(t, restored, ['--chain', 'node:http://127.0.0.1:9', '--network', 'main']), {
      code: 'ERR_CONFLICT',
      message: /backup is of the network devnet/,
    })
    rmSync(join(restored, 'wallet'), { recursive: true })
    const bare = await start(t, restored, [])
    await bare.said('coins wait to be recovered: name their --chain')
    await bare.close()
    const again = await start(t, restored, chain)
    await again.said('the coins are recovered from their backup')
    t.match(await again.said('the coins were recovered'), { coins: 1, satoshis: 9000, network: 'devnet' })
    t.match(await wallet(restored, 'balance'), { confirmed: 9000 })
    t.notOk(existsSync(join(restored, 'wallet.backup')))
    await again.close()
  }
  rmSync(join(while_, 'wallet.backup'))
  await t.rejects(relayd(join(folder, 'no'), ['restore', while_]), { code: 'ERR_NOT_FOUND' })
})
