/** `relayd devnet`, and relays and wallets beside it, as programs: streams, signals and exit codes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { parseAddress } from '../../contracts/chain/http.ts'
import { NodeChain } from '../../contracts/chain/node.ts'
import { compiled } from '../fixtures/compiled.ts'
import { spawnRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)
const program = compiled('relay/main.ts')
const env = { ...process.env, RELAYD_DATA: join(t.testdirName, 'not-this') }

/** Runs `relayd` to its end. */
async function relayd(...args: string[]) {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env })
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  return { code, stdout, stderr }
}

async function startDevnet(t: Test, ...args: string[]) {
  const child = spawn(process.execPath, [program, 'devnet', '--listen', '127.0.0.1:0', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  })
  const exited = once(child, 'exit')
  const stop = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    return (await exited)[0]
  }
  t.teardown(() => stop('SIGKILL'))
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const ready = JSON.parse(line) as { url: string; chain: string; devnet: boolean; event: string }
  const chainOf = (user = '', password = '') => {
    const url = new URL(ready.url)
    Object.assign(url, { username: user, password })
    const chain = new NodeChain(parseAddress(url.href), 'devnet')
    t.teardown(() => chain.close())
    return chain
  }
  return { ...ready, stop, chainOf }
}

t.test('it says where it is, keeps its chain where it is told, and stops on a signal', async (t) => {
  const data = join(t.testdir(), 'chain')
  const first = await startDevnet(t, '--data', data, '--block-every', '50ms')
  t.match(first, { event: 'ready', devnet: true, chain: `devnet:${first.url}` })
  const chain = first.chainOf()
  const began = (await chain.tip()).height
  while ((await chain.tip()).height === began); // a block comes by itself
  const { height } = await chain.tip()

  const taken = await relayd('devnet', '--listen', new URL(first.url).host)
  t.match(taken, { code: 1, stdout: '' })
  t.equal(
    taken.stderr,
    `relayd: another program listens on ${new URL(first.url).host}; choose another with --listen HOST:PORT\n`,
  )
  t.match(await relayd('devnet', '--listen', '127.0.0.1:0', '--data', data), {
    code: 1,
    stderr: /^relayd: process \d+ holds /,
  })
  t.equal(await first.stop('SIGTERM'), 0)
  const second = await startDevnet(
    t,
    '--data',
    data,
    '--block-every',
    '0',
    '--user',
    'u',
    '--password',
    'p:w',
  )
  t.ok((await second.chainOf('u', 'p%3Aw').tip()).height >= height)
  await t.rejects(second.chainOf().tip())
  t.equal(await second.stop('SIGINT'), 0)
  t.notOk(existsSync(env.RELAYD_DATA), 'the folder of a relay is not meant')
  t.match(await relayd('devnet', '--block-every', 'soon'), { code: 2, stderr: /--block-every takes/ })
  t.match(await relayd('devnet', '--user', 'u'), { code: 2 })
})

t.test('a relay beside it, and its wallet from the command line', async (t) => {
  const data = join(t.testdir(), 'relay')
  const devnet = await startDevnet(t, '--block-every', '0')
  const relay = await spawnRelay(data, { env: { RELAYD_CHAIN: devnet.chain } })
  t.teardown(() => relay.kill('SIGKILL'))
  t.match(relay, { event: 'ready', network: 'devnet' } as object)
  const wallet = (...args: string[]) => relayd('wallet', ...args, '--data', data)

  t.match(await wallet('faucet', '1234', '--human'), {
    code: 0,
    stdout: /^got 1234 satoshi on devnet \(worth nothing\)/,
  })
  t.match(JSON.parse((await wallet('balance')).stdout), { unconfirmed: 1234, network: 'devnet' })
  t.match((await relayd('status', '--data', data, '--human')).stdout, /wallet +network devnet, .*balance/)
  t.match(await wallet('connect', 'http://localhost:1'), { code: 1, stderr: /its own key/ })
  t.match(await wallet('spend'), { code: 2 })
  t.match(await wallet('send', 'nowhere', '5'), { code: 1, stderr: /^relayd: / })
  const { address } = JSON.parse((await wallet('address')).stdout)
  t.match(await wallet('send', address, '900000'), { code: 6, stderr: /satoshi are missing of/ })
  t.match((await relayd('--help')).stdout, /6 more than the coins there are/)

  await devnet.stop('SIGKILL')
  t.match(await wallet('faucet'), { code: 3, stderr: /^relayd: / })
  const away = await wallet('balance', '--human')
  t.match(away, { code: 0, stdout: /^1234 satoshi on devnet/ })
  t.match(away.stdout, /as of block \d+: .*does not answer.*: start one with relayd devnet/)
  t.same(await relay.kill('SIGTERM'), [0, null], 'it stops, whatever the chain does')
  t.match(await wallet('faucet'), { code: 3 }, 'nor without the relay')
  t.match(await wallet('balance'), { code: 0 })
  t.match(await relayd('wallet', 'balance', '--data', join(data, 'no')), { code: 5 })
})
