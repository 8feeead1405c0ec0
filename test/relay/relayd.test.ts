/** `relayd` as its operator meets it: options, streams, files, signals and exit codes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { WebSocket } from 'ws'
import { readConfig } from '../../relay/config.ts'
import { startOptions } from '../../relay/start-options.ts'
import { control } from '../../relay/operator/control.ts'
import { version } from '../../relay/version.ts'
import { compiled } from '../fixtures/compiled.ts'
import { spawnRelay, startTestRelay } from '../fixtures/relay.ts'
import { actor, ask, askSigned, post, postSigned, replyTo, sealFor, sealRecord } from '../fixtures/wire.ts'

const tls = (name: string) => new URL(`../fixtures/tls/${name}.pem`, import.meta.url).pathname

t.setTimeout(280_000)

/** Runs `relayd` to its end. */
async function relayd(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [compiled('relay/main.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  return { code, stdout, stderr }
}

t.test('help goes to stdout, a wrong command line gets a sentence and exit code 2', async (t) => {
  const [help, option] = await Promise.all([
    relayd(['--help']),
    relayd(['start', '--data', '', '--listen', 'here']),
  ])

  t.match(help, { code: 0, stderr: '' })
  t.match(help.stdout, `relayd ${version}: `)
  for (const name of Object.keys(startOptions)) t.match(help.stdout, `--${name} `)
  t.match(option, { code: 2, stdout: '', stderr: /^relayd: --listen takes HOST:PORT.*\n/ })
})

t.test('every option has its variable, and the command line stands above it', async (t) => {
  const key = actor().identity
  const env = {
    RELAYD_DATA: '/data',
    RELAYD_LISTEN: '[::1]:9000',
    RELAYD_OPEN: 'yes',
    RELAYD_ALLOW: `${key}, ${key}`,
    RELAYD_PUBLIC_URL: 'https://relay.example/',
    RELAYD_TRUST_PROXY: 'false',
    RELAYD_MIN_FREE_DISK: '1',
    RELAYD_LIMIT: 'page=7 batch=8',
    RELAYD_TLS_CERT: '',
  }
  const config = readConfig([], env)

  t.match(config, {
    data: '/data',
    host: '::1',
    port: 9000,
    open: true,
    allow: [key, key],
    trustProxy: false,
  })
  t.match(config, {
    publicUrl: 'https://relay.example',
    minFreeDiskBytes: 1_048_576,
    limits: { page: 7, batch: 8 },
  })
  t.equal(config.tls, undefined)
  const args = ['--data', '/other', '--limit', 'page=9', '--listen', 'localhost:0']
  t.match(readConfig(args, env), {
    data: '/other',
    host: 'localhost',
    port: 0,
    limits: { page: 9, batch: 256 },
  })
  t.match(readConfig(['--data', 'd'], {}), { open: false, allow: [], minFreeDiskBytes: 512 * 1_048_576 })
  for (const bad of [
    [],
    ['--data', ''],
    ['--data', 'd', '--port', '1'],
    ['--data', 'd', 'more'],
    ['--data', 'd', '--open=1'],
    ['--data', 'd', '--listen', 'x:70000'],
    ['--data', 'd', '--listen', '::1:80'],
    ['--data', 'd', '--allow', 'alice'],
    ['--data', 'd', '--public-url', 'ftp://x'],
    ['--data', 'd', '--tls-key', 'x'],
    ['--data', 'd', '--min-free-disk', 'much'],
    ['--data', 'd', '--min-free-disk', '-1'],
    ['--data', 'd', '--limit', 'page=0'],
    ['--data', 'd', '--limit', 'pages=1'],
    ['--data', 'd', '--limit', 'replyBytes=1000'],
    ['--data', 'd', '--log-level', 'loud'],
  ]) {
    t.throws(() => readConfig(bad, {}), { code: 'ERR_USAGE' }, bad.join(' '))
  }
})

t.test(
  'a relay makes its directory and key, says that it is ready, logs without secrets, and stops',
  async (t) => {
    const data = join(t.testdir(), 'not', 'there yet')
    const relay = await spawnRelay(data)
    let more = ''
    relay.child.stdout?.on('data', (chunk) => {
      more += chunk
    })
    const keyFile = JSON.parse(readFileSync(join(data, 'relay.key'), 'utf8'))
    t.equal(relay.key, keyFile.identity)
    t.match(relay.url, /^http:\/\/127\.0\.0\.1:\d+$/)
    for (const name of ['relay.key', 'control.json'])
      t.equal(statSync(join(data, name)).mode & 0o777, 0o600, name)

    const [alice, bob] = [actor(), actor()]
    const record = await sealRecord(relay, alice, bob, {
      tag: 'secret tag',
      content: Buffer.from('secret content'),
    })
    t.match(await postSigned(relay, record), { result: true })
    t.equal((await ask(relay, bob, { type: 'read', path: record.path })).text, record.text)
    await post(relay.url, record.text.replace('secret', 'public'))
    await fetch(`${relay.url}/somewhere?secret`)

    const [second, status, confirmed] = await Promise.all([
      relayd(['start', '--data', data, '--listen', '127.0.0.1:0']),
      relayd(['status'], { RELAYD_DATA: data }),
      control(join(data, 'control.json'), 'confirm-clock'),
    ])
    t.match(second, { code: 1, stdout: '', stderr: /another process|in use/ })
    const samePort = ['--listen', `127.0.0.1:${relay.port}`]
    await t.rejects(startTestRelay(join(t.testdirName, 'other'), { args: samePort }), {
      code: 'ERR_CONFLICT',
      message: `another program listens on 127.0.0.1:${relay.port}; choose another with --listen HOST:PORT`,
    })
    t.notOk(existsSync(join(t.testdirName, 'other', 'store')), 'and no folder is left behind')
    t.match(status, { code: 0, stderr: '' })
    const said = JSON.parse(status.stdout)
    t.match(said, {
      key: relay.key,
      url: relay.url,
      store: 'ready',
      sweeper: { state: 'running' },
      sockets: 0,
    })
    t.equal(confirmed, true)

    t.same(await relay.kill('SIGTERM'), [0, null])
    t.equal(more, '', 'one line on stdout')
    const logs = relay
      .stderr()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    t.match(logs.at(-1), { msg: 'stopped' })
    for (const secret of [
      'secret',
      alice.identity,
      keyFile.privateKey,
      Buffer.from('secret content').toString('base64'),
    ])
      t.notMatch(relay.stderr(), secret)
    await t.rejects(control(join(data, 'control.json'), 'status'), { code: 'ERR_NOT_FOUND' })
    const again = await startTestRelay(data)
    t.teardown(() => again.close())
    t.equal(again.key, relay.key, 'the key stays')
    t.match(await askSigned(again, bob, { type: 'inventory' }), { result: [record.path] })
  },
)

t.test('a relay told to stop under load keeps everything it answered, and its key encrypted', async (t) => {
  const data = t.testdir()
  const passphrase = 'correct horse'
  const relay = await spawnRelay(data, { env: { RELAYD_PASSPHRASE: passphrase } })
  const [alice, bob] = [actor(), actor()]
  const records = await Promise.all(Array.from({ length: 200 }, () => sealRecord(relay, alice, bob)))
  const answered: string[] = []
  const send = async (record: (typeof records)[number]) => {
    const answer = await post(relay.url, record.text).catch(() => undefined)
    if (answer === undefined) return // not accepted, or cut off
    t.match(answer, { status: 200, reply: { result: true } })
    answered.push(record.path)
    if (answered.length === 20) relay.child.kill('SIGTERM')
  }

  await Promise.all(records.map(send))

  t.same(await relay.kill('SIGTERM'), [0, null])
  t.ok(answered.length >= 20)
  const { encryption, identity } = JSON.parse(readFileSync(join(data, 'relay.key'), 'utf8'))
  t.same([encryption, identity], ['scrypt', relay.key], 'the passphrase encrypts the key at rest')
  await t.rejects(startTestRelay(data), { code: 'ERR_FORBIDDEN', message: /a passphrase is needed/ })
  await t.rejects(startTestRelay(data, { passphrase: 'wrong' }), { message: /wrong passphrase/ })
  const again = await startTestRelay(data, { passphrase })
  t.teardown(() => again.close())
  const stored = new Set((await askSigned(again, bob, { type: 'inventory' })).result)
  t.same(
    answered.filter((path) => !stored.has(path)),
    [],
  )
})

t.test('with a certificate the relay serves https and wss', async (t) => {
  const args = ['--open', '--tls-cert', tls('cert'), '--tls-key', tls('key')]
  const relay = await startTestRelay(t.testdir(), { args })
  t.teardown(() => relay.close())
  const ca = readFileSync(tls('cert'))
  t.match(relay.url, /^https:\/\/127\.0\.0\.1:\d+$/)

  const sealed = await sealFor(relay, actor(), { type: 'inventory' })
  const call = request(relay.url, { ca, method: 'POST', headers: { 'content-type': 'application/json' } })
  call.end(sealed.text)
  const [response] = await once(call, 'response')
  t.match(replyTo(relay, sealed, await text(response)), { result: [] })
  const ws = new WebSocket(relay.url.replace('https', 'wss'), { ca })
  await once(ws, 'open')
  const again = await sealFor(relay, actor(), { type: 'inventory' })
  ws.send(again.text)
  const [frame] = await once(ws, 'message')
  t.match(replyTo(relay, again, String(frame)), { result: [] })
  ws.terminate()
  const wrong = ['--open', '--tls-cert', tls('key'), '--tls-key', tls('key')]
  await t.rejects(startTestRelay(join(t.testdirName, 'wrong'), { args: wrong }))
})
