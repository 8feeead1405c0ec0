/** What several processes may rely on when they share one home. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createContext } from '../../client/context.ts'
import { openJournal, readJournal, writeDurably } from '../../client/home/durable.ts'
import { Home } from '../../client/home/home.ts'
import { withLock } from '../../client/home/lock.ts'
import { backoffMs, coalesce, eachLimited } from '../../client/wire/retry.ts'
import { Client } from '../../client/index.ts'
import { fromKeyWallet } from '../../client/wallet.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { z } from 'zod'
import { alice } from '../fixtures/keys.ts'
import { startProxy } from '../fixtures/lying-relay.ts'
import { befriend, person, reopen, spawnCommand, texts } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

t.test('two processes that pull at once spend one pull and show one message', async (t) => {
  t.testdir()
  const real = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => real.close())
  let reads = 0
  const bothListed = withResolvers()
  let listed = 0
  const relay = await startProxy(t, real, async (body, answer) => {
    if (body.includes('"type":"inventory"')) {
      // Neither goes on before both know of the record.
      if (++listed >= 2) bothListed.resolve()
      await bothListed.promise
    }
    reads += body.split('"type":"read"').length - 1
    return answer
  })
  const alice = await person(join(t.testdirName, 'alice'), 'Alice', [relay])
  const bob = await person(join(t.testdirName, 'bob'), 'Bob', [relay])
  await befriend(alice, bob)
  await alice.client.send(await alice.client.friend('Bob'), 'for one', { maxPulls: 1 })

  const runs = await Promise.all([1, 2].map(() => spawnCommand(bob.home, ['pull']).ended))

  t.same(
    runs.map(({ code }) => code),
    [0, 0],
  )
  t.same(await texts(runs.flatMap(({ rows }) => rows)), ['for one'])
  t.equal(reads, 1)
})

t.test('a kill between the answer and the inbox does not cost the only pull', async (t) => {
  t.testdir()
  const real = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => real.close())
  const answered = withResolvers()
  let isHeld = true
  const relay = await startProxy(t, real, async (body, answer) => {
    if (!isHeld || !body.includes('"type":"read"')) return answer
    answered.resolve()
    await new Promise(() => {}) // the relay has counted the pull; its answer never arrives
    return answer
  })
  const alice = await person(join(t.testdirName, 'alice'), 'Alice', [relay])
  const bob = await person(join(t.testdirName, 'bob'), 'Bob', [relay])
  await befriend(alice, bob)
  await alice.client.send(await alice.client.friend('Bob'), 'only once', { maxPulls: 1 })
  const killed = spawnCommand(bob.home, ['pull'])
  await answered.promise
  killed.child.kill('SIGKILL')
  await killed.ended
  isHeld = false

  const { messages } = await bob.client.pull()

  t.same(await texts(messages), ['only once'])
  t.same(readdirSync(join(bob.home, 'reads')), [])
})

function withResolvers() {
  let resolve = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

t.test('a lock has one holder at a time, and a dead holder holds nothing', async (t) => {
  const folder = t.testdir()
  const lock = { directory: folder, name: 'name' }
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  writeFileSync(join(folder, 'name.7'), String(child.pid))
  let inside = 0
  let most = 0
  const work = async () => {
    most = Math.max(most, ++inside)
    await new Promise((resolve) => setImmediate(resolve))
    inside -= 1
  }

  await t.rejects(withLock(lock, work, { waitMs: 0 }), { code: 'ERR_LOCKED' })
  await t.rejects(withLock(lock, work, { signal: AbortSignal.abort() }), { name: 'AbortError' })
  child.kill('SIGKILL')
  await once(child, 'exit')
  await Promise.all(Array.from({ length: 20 }, () => withLock(lock, work)))
  await t.rejects(
    withLock(lock, () => Promise.reject(new Error('failed')), {}),
    { message: 'failed' },
  )
  await withLock(lock, work, { waitMs: 0 })

  t.equal(most, 1)
  t.same(readdirSync(folder), ['name.29'], 'one file remains: numbers 8 to 29 were taken in turn')
  t.equal(readFileSync(join(folder, 'name.29'), 'utf8'), 'free')
})

t.test('a lock that a killed process with our own number left behind holds nothing', async (t) => {
  const lock = { directory: t.testdir({ 'name.7': `${process.pid} 0123456789ab` }), name: 'name' }

  await withLock(
    lock,
    async () => {
      await t.rejects(
        withLock(lock, async () => {}, { waitMs: 0 }),
        { code: 'ERR_LOCKED' },
      )
    },
    { waitMs: 0 },
  )

  t.same(readdirSync(lock.directory), ['name.8'])
})

t.test('a file is replaced whole or not at all, and a failed write leaves nothing behind', async (t) => {
  const folder = t.testdir({ file: 'old' })

  await writeDurably(join(folder, 'file'), 'new')
  mkdirSync(join(folder, 'taken'))
  await t.rejects(writeDurably(join(folder, 'taken'), 'text'), { code: /EISDIR|EEXIST|ENOTEMPTY/ })

  t.equal(readFileSync(join(folder, 'file'), 'utf8'), 'new')
  t.same(readdirSync(folder).sort(), ['file', 'taken'])
})

t.test('a journal forgets an append that a kill cut short, and nothing else', async (t) => {
  const path = join(t.testdir({ log: '{"n":1}\n{"n":2}\n{"n"' }), 'log')
  const Line = z.strictObject({ n: z.int() })

  t.same(await readJournal(path, Line), [{ n: 1 }, { n: 2 }])
  const journal = await openJournal(path)
  await journal.appendFile('{"n":3}\n')
  await journal.close()

  t.same(await readJournal(path, Line), [{ n: 1 }, { n: 2 }, { n: 3 }])
  writeFileSync(path, '{"n":1}\n{"x":2}\n')
  await t.rejects(readJournal(path, Line), { code: 'ERR_DAMAGED', message: /log is damaged/ })
})

t.test('plain http to another machine is noted once, to this machine never', async (t) => {
  const { privateKey, identity: key } = alice
  const urls: string[] = []
  const noted = withResolvers()
  const ctx = createContext({
    home: await Home.open(t.testdir()),
    wallet: fromKeyWallet(new KeyWallet(privateKey)),
    quorum: 1,
    now: Date.now,
    notify: (notice) => {
      if (notice.type === 'plain-http') urls.push(notice.relay)
      noted.resolve()
    },
  })
  for (const url of ['http://127.0.0.1:1', 'http://localhost', 'http://[::1]:1', 'https://relay.example'])
    ctx.connect({ url, key })

  for (let n = 0; n < 2; n++) ctx.connect({ url: 'http://relay.example', key })
  await noted.promise

  t.same(urls, ['http://relay.example'])
})

t.test('a cursor moves forward only, except into a new epoch', async (t) => {
  const home = await Home.open(t.testdir())
  const [relay, owner] = ['02'.padEnd(66, 'a'), '02'.padEnd(66, 'b')]
  const cursor = (epoch: string, place: number) => `${epoch.repeat(16)}.${place}`
  for (const next of [cursor('a', 10), cursor('a', 9), cursor('a', 11)])
    await home.advance(relay, owner, next)

  t.equal(await home.cursor(relay, owner), cursor('a', 11))
  await home.advance(relay, owner, cursor('b', 1))
  t.equal(await home.cursor(relay, owner), cursor('b', 1))
  t.equal(await home.cursor(relay, undefined), undefined)
})

t.test('damage is reported with the name of the file', async (t) => {
  t.testdir()
  const alice = await person(join(t.testdirName, 'alice'), 'Alice')
  const bob = await person(join(t.testdirName, 'bob'), 'Bob')
  await befriend(alice, bob)
  const friend = join(alice.home, 'friends', `${bob.client.identity}.json`)
  for (const text of ['{"identity":"x","alias":"Bob","forks":[]}', '{', '{"alias":"Bob"}']) {
    writeFileSync(friend, text)
    const { client, notices } = await reopen({ ...alice, notices: [] })
    t.same(await client.friends(), [], 'and the others stay')
    await client.friends()
    t.match(notices, [{ error: { code: 'ERR_DAMAGED', message: new RegExp(bob.client.identity) } }])
    t.equal(notices.length, 1, 'it is said once')
  }
  rmSync(join(alice.home, 'friends'), { recursive: true })
  writeFileSync(join(alice.home, 'friends'), '')
  const ended = alice.client.listen({ signal: new AbortController().signal, onMessage: () => {} })
  await t.rejects(ended, { code: 'ENOTDIR' }, 'a listener does not go on with a home it cannot read')
  writeFileSync(join(alice.home, 'me.relayid'), 'nobody')
  await t.rejects(Client.open(alice.home), { code: 'ERR_DAMAGED', message: /me\.relayid/ })
})

t.test('work is limited in width, ends at the first failure, and is not run twice at once', async (t) => {
  let [now, most, done] = [0, 0, 0]
  await eachLimited(Array(20).keys(), 3, async () => {
    most = Math.max(most, ++now)
    await new Promise((resolve) => setImmediate(resolve))
    now -= 1
    done += 1
  })
  const failing = eachLimited(Array(20).keys(), 2, async (n) => {
    done += 1
    if (n === 1) throw new Error('second')
  })
  await t.rejects(failing, { message: 'second' })
  let runs = 0
  const once = coalesce(async () => {
    runs += 1
    await new Promise((resolve) => setImmediate(resolve))
  })
  for (let n = 0; n < 5; n++) once.wake()
  await once.idle()

  t.equal(most, 3)
  t.ok(done < 30)
  t.equal(runs, 2)
  t.ok(backoffMs(20, { firstMs: 10, maxMs: 100 }) <= 100)
})
