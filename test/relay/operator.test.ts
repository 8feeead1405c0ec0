/** The operator's commands of `relayd`: on a running relay, and on the store of one that is not. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { type Io, exitCodes } from '../../relay/operator/command.ts'
import { commands } from '../../relay/operator/commands.ts'
import { expiryKey, ledgerPrefix, placeKey } from '../../relay/store/keys.ts'
import { bookReceived } from '../../relay/store/ledger.ts'
import { Expiry } from '../../relay/store/rows.ts'
import { Store } from '../../relay/store/store.ts'
import { compiled } from '../fixtures/compiled.ts'
import { startTestRelay } from '../fixtures/relay.ts'
import { actor, ask, postSigned, sealRecord } from '../fixtures/wire.ts'

const priced = ['--price', 'storageGBDay=40000000', '--price', 'egressGB=1000000']

/** Runs a command in this process. */
async function relayd(
  data: string,
  [name = '', ...args]: readonly string[],
  isTerminal = false,
): Promise<{ code: number; lines: string[] }> {
  const lines: string[] = []
  const io: Io = {
    env: { RELAYD_DATA: data },
    isTerminal,
    signal: new AbortController().signal,
    out: (line) => lines.push(line),
  }
  const code = await commands[name]!.run(io, args)
  return { code, lines }
}
const json = async (data: string, ...args: string[]) => JSON.parse((await relayd(data, args)).lines[0]!)

t.test('commands work on a running relay as on the store of one that is not', async (t) => {
  const data = t.testdir()
  const [alice, bob] = [actor(), actor()]
  const relay = await startTestRelay(data, { args: priced })
  t.match(await json(data, 'grant', alice.identity, '500', '--id', 'first'), {
    granted: true,
    purse: 'grant',
    available: '500',
  })
  const record = await sealRecord(relay, alice, bob)
  t.match(await postSigned(relay, record), { result: true })
  await ask(relay, bob, { type: 'read', path: record.path })

  const inside = async () => ({
    list: (await relayd(data, ['accounts', 'list'])).lines.map((line) => JSON.parse(line).key),
    show: (await json(data, 'accounts', 'show', alice.identity, '--entries', '2')).entries.map(
      ({ what }: { what: string }) => what,
    ),
    price: (await json(data, 'price')).prices,
    check: (await json(data, 'ledger', 'check')).ok,
    story: (await relayd(data, ['ledger', 'explain', record.path])).lines.length > 2,
  })
  const running = await inside()
  await relay.close()
  const stopped = await inside()

  t.same(running, {
    list: [alice.identity],
    show: ['pull', 'write'],
    price: { egressGB: 1_000_000, ingressGB: 0, storageGBDay: 40_000_000 },
    check: true,
    story: true,
  })
  t.same(stopped, running)
  t.match(await json(data, 'grant', alice.identity, '500', '--id', 'first'), { granted: false })
  t.match(await json(data, 'price', 'set', 'egressGB=5'), {
    prices: { egressGB: 5, storageGBDay: 40_000_000 },
  })
  const again = await startTestRelay(data)
  t.match(await json(data, 'price'), { prices: { egressGB: 5 } })
  await again.close()
})

t.test('people get sentences and tables where programs get JSON', async (t) => {
  const data = t.testdir()
  const alice = actor()
  const relay = await startTestRelay(data, { args: priced })
  t.teardown(() => relay.close())

  const said = async (...args: string[]) => (await relayd(data, args, true)).lines.join('\n')
  t.match(
    await said('grant', alice.identity, '500'),
    `granted 500 satoshi to ${alice.identity}\ngrant: 500 available`,
  )
  t.match(await said('accounts', 'list'), `${alice.identity}  grant: 500 available`)
  t.match(
    await said('accounts', 'show', alice.identity),
    /TIME \(UTC\) +PURSE +WHAT.*\n.* received +received 500 +operator/,
  )
  t.match(await said('accounts', 'list'), /spent of 500$/)
  t.match(await said('revoke', alice.identity, '9000'), /took back 500 satoshi.*: only 500 were available/)
  t.match(await said('accounts', 'list'), '0 spent and 500 returned of 500')
  t.match(await said('price'), '40000000 satoshi per GB and day stored')
  t.match(await said('price', 'set', 'ingressGB=7'), /from \d{4}-.* UTC on, when quotes given out have ended/)
  t.match(await said('ledger', 'check'), 'no difference')
  t.match(await said('status'), /nextPrices .* from \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/)
  t.match(await said('status'), /ledger +purses 1, entries 2, received 500, returned 500/)
  t.match(await said('price', '--json'), /^\{"prices"/)
})

t.test('what cannot be carried out is said with a code', async (t) => {
  const data = t.testdir()
  const alice = actor().identity
  await (await startTestRelay(data)).close()

  for (const args of [
    ['grant', alice],
    ['grant', alice, '1.5'],
    ['grant', alice, '-5'],
    ['grant', alice, '5', '6'],
    ['accounts'],
    ['accounts', 'show'],
    ['price', 'raise'],
    ['accounts', 'show', alice, '--entries', '1001'],
    ['price', 'set', 'egress=5'],
    ['price', 'set', 'egressGB=5', 'egressGB=6', 'egressGB=7', 'egressGB=8'],
    ['ledger', 'explain'],
    ['ledger', 'check', '--deep'],
  ])
    await t.rejects(relayd(data, args), { code: 'ERR_USAGE' }, args.join(' '))
  await t.rejects(relayd('', ['price']), { code: 'ERR_USAGE' })
  for (const args of [
    ['grant', 'alice', '5'],
    ['revoke', '02abc', '5'],
    ['accounts', 'show', '02abc'],
  ])
    await t.rejects(
      relayd(data, args),
      { code: 'ERR_USAGE', message: / is no key: 66 digits/ },
      args.join(' '),
    )
  const noPoint = `02${'ff'.repeat(32)}`
  await t.rejects(relayd(data, ['grant', noPoint, '5']), {
    code: 'ERR_MALFORMED',
    message: 'grant: key: no such key can exist',
  })
  await relayd(data, ['grant', alice, '5', '--id', 'invoice'])
  await t.rejects(relayd(data, ['grant', alice, '6', '--id', 'invoice']), {
    code: 'ERR_CONFLICT',
    message: 'invoice was granted before with 5 satoshi, not 6',
  })
  await t.rejects(relayd(data, ['status']), { code: 'ERR_NOT_FOUND', extras: { reason: 'not running' } })
  for (const directory of [join(data, 'store', 'sub'), join(data, 'new'), data])
    await t.rejects(relayd(data, ['backup', directory]), { code: 'ERR_CONFLICT' }, directory)
  await t.rejects(relayd(data, ['backup', '/proc/none/x']), { code: 'ERR_NOT_FOUND' })
  await t.rejects(relayd(data, ['grant', alice, '2100000000000001']), { code: 'ERR_MALFORMED' })
  await t.rejects(relayd(data, ['accounts', 'show', actor().identity]), { code: 'ERR_NOT_FOUND' })
  await t.rejects(relayd(data, ['ledger', 'explain', actor().identity]), { code: 'ERR_NOT_FOUND' })
  await t.rejects(relayd(data, ['status']), { code: 'ERR_NOT_FOUND', extras: { reason: 'not running' } })
  await t.rejects(relayd(join(data, 'elsewhere'), ['price']), { code: 'ERR_NOT_FOUND' })
})

t.test('a price that cannot be is refused in the same words by a running relay', async (t) => {
  const data = t.testdir()
  const relay = await startTestRelay(data, { args: priced })
  t.teardown(() => relay.close())
  const order = (prices: unknown) =>
    relay.operator.execute('set-prices', prices, new AbortController().signal)

  await t.rejects(relayd(data, ['price', 'set', 'egress=5']), { code: 'ERR_USAGE' })
  await t.rejects(relayd(data, ['price', 'set', 'egressGB=1000000000001']), { code: 'ERR_USAGE' })
  for (const prices of [{}, { egress: 5 }, { egressGB: 1_000_000_000_001 }, { egressGB: -1 }])
    await t.rejects(order(prices), { code: 'ERR_MALFORMED' })
  t.match(await json(data, 'price', 'set', 'egressGB=5', 'ingressGB=0'), {
    prices: { egressGB: 5, ingressGB: 0, storageGBDay: 40_000_000 },
  })
})

t.test('credit is given and told, however many records have ended and are not booked', async (t) => {
  const data = t.testdir()
  const alice = actor().identity
  await (await startTestRelay(data, { args: priced })).close()
  const store = await Store.open({ directory: join(data, 'store'), now: Date.now })
  await store.commit((batch) => {
    for (let n = 0; n < 5000; n++)
      batch.put(expiryKey(1, n), Expiry.encode({ owner: alice, recordId: String(n) }))
  })
  await store.close()

  t.match(await json(data, 'grant', alice, '500'), { granted: true, purse: 'grant', available: '500' })
  t.match(await json(data, 'revoke', alice, '200'), { revoked: 200, purse: 'grant', available: '300' })
  t.match(await json(data, 'accounts', 'list'), { key: alice, purses: [{ available: '300' }] })
  t.match(await json(data, 'accounts', 'show', alice), { purses: [{ received: '500', returned: '200' }] })
  t.match(await json(data, 'revoke', actor().identity, '5'), { revoked: 0, available: '0' })
})

t.test('a story is told in lines of JSON; of a record nobody knows there is none, on any page', async (t) => {
  const data = t.testdir()
  const [alice, bob] = [actor().identity, actor().identity]
  await (await startTestRelay(data, { args: priced })).close()
  const store = await Store.open({ directory: join(data, 'store'), now: Date.now })
  await store.commit((batch) => {
    for (let n = 0; n < 1001; n++)
      bookReceived(batch, { owner: alice, purse: 'grant', satoshi: 1, note: 'operator' })
  })
  await store.close()

  const { lines } = await relayd(data, ['ledger', 'explain', alice])
  const said = await relayd(data, ['ledger', 'explain', alice], true)

  t.ok(lines.length > 1001)
  t.same(
    lines.map((line) => JSON.parse(line)),
    said.lines.map((sentence) => ({ sentence })),
  )
  await t.rejects(relayd(data, ['ledger', 'explain', `/${alice}/outbox/${bob}/${'0'.repeat(32)}`]), {
    code: 'ERR_NOT_FOUND',
  })
})

t.test('books that do not agree have an exit code of their own', async (t) => {
  const data = t.testdir()
  const alice = actor().identity
  await (await startTestRelay(data, { args: priced })).close()
  await relayd(data, ['grant', alice, '500'])
  t.equal((await relayd(data, ['ledger', 'check'])).code, exitCodes.ok)
  const store = await Store.open({ directory: join(data, 'store'), now: Date.now })
  const scan = store.scan({
    gte: ledgerPrefix(alice),
    lt: placeKey(ledgerPrefix(alice), Number.MAX_SAFE_INTEGER),
  })
  const [[key] = [Buffer.alloc(0)]] = await scan.next(1)
  await scan.close()
  await store.commit((batch) => batch.del(key))
  await store.close()

  const { code, lines } = await relayd(data, ['ledger', 'check'], true)

  t.equal(code, exitCodes.mismatch)
  t.match(lines.at(-1), 'THE BOOKS DO NOT AGREE')
  t.ok(lines.some((line) => line.includes(alice)))
})

t.test(
  'a backup of a running relay becomes a relay elsewhere, with the same key, records and books',
  async (t) => {
    const [data, copy, elsewhere] = ['data', 'copy', 'elsewhere'].map((name) => join(t.testdir(), name))
    const [alice, bob] = [actor(), actor()]
    const relay = await startTestRelay(data!, { args: priced })
    await relayd(data!, ['grant', alice.identity, '500'])
    const record = await sealRecord(relay, alice, bob)
    await postSigned(relay, record)

    t.equal((await relayd(data!, ['backup', copy!])).code, exitCodes.ok)
    await t.rejects(relayd(data!, ['backup', copy!]), { code: 'ERR_CONFLICT' })
    await relay.close()
    const restored = await relayd(elsewhere!, ['restore', copy!])

    t.equal(restored.code, exitCodes.ok)
    t.match(JSON.parse(restored.lines[0]!), { ledger: { ok: true, differences: [] } })
    const again = await startTestRelay(elsewhere!)
    t.teardown(() => again.close())
    t.equal(again.key, relay.key)
    t.equal((await ask(again, bob, { type: 'read', path: record.path })).text, record.text)
    t.match(await json(elsewhere!, 'accounts', 'show', alice.identity), { purses: [{ received: '500' }] })
  },
)

t.test('a restore ends at the first Ctrl-C', { skip: process.platform === 'win32' }, async (t) => {
  const [copy, data] = [join(t.testdir(), 'copy'), join(t.testdirName, 'data')]
  mkdirSync(copy)
  // It reads the key first, which is not there before somebody writes it.
  execFileSync('mkfifo', [join(copy, 'relay.key')])
  const args = [compiled('relay/main.ts'), 'restore', copy, '--data', data]
  const child = spawn(process.execPath, args, { stdio: 'ignore' })
  const exited = once(child, 'exit')
  const key = await open(join(copy, 'relay.key'), 'w')

  child.kill('SIGINT')

  t.same(await exited, [null, 'SIGINT'])
  await key.close()
})

t.test('relayd runs them, and its help names them all', async (t) => {
  const data = t.testdir()
  const run = async (...args: string[]) => {
    const child = spawn(process.execPath, [compiled('relay/main.ts'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, RELAYD_DATA: data },
    })
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'exit'),
    ])
    return { code, stdout, stderr }
  }
  await (await startTestRelay(data)).close()

  const [help, missing, wrong, status] = await Promise.all([
    run('--help'),
    run('accounts', 'show', actor().identity),
    run('grants'),
    run('status'),
  ])

  for (const { usage } of Object.values(commands)) t.match(help.stdout, `relayd ${usage}`)
  t.match(missing, { code: 5, stdout: '', stderr: /^relayd: .* has no account here\n$/ })
  t.match(wrong, { code: 2, stderr: /there is no command grants/ })
  t.match(status, { code: 3, stderr: /no relay is running/ })
})
