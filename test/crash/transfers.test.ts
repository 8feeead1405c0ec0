/** Files survive kills on both sides, in chunks of any relay's size, and arrive whole or not at all (docs/protocol.md §5). */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { utimes } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { entries } from '../../client/home/outbox.ts'
import { largestChunk } from '../../client/files/chunks.ts'
import { sendFile } from '../../client/files/uploads.ts'
import { formatAddress } from '../../market/address.ts'
import { encodePayload, type Payload } from '../../market/payload.ts'
import { startProxy } from '../fixtures/lying-relay.ts'
import { couple, type Person, source, spawnCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

/** A relay that stops answering, without failing, at the `nth` message that contains `what`. */
async function stalling(t: Test, options: { what: string; nth: number; args?: string[] }) {
  const real = await startTestRelay(join(t.testdirName, 'relay'), options.args && { args: options.args })
  t.teardown(() => real.close())
  let [seen, counted, isStalling] = [0, 0, true]
  const stalled: (() => void)[] = []
  let stop = () => {}
  const reached = new Promise<void>((resolve) => {
    stop = resolve
  })
  const address = await startProxy(t, real, async (body, answer) => {
    if (!body.includes(options.what)) return answer
    counted += 1
    if (!isStalling || ++seen < options.nth) return answer
    stop()
    await new Promise<void>((resolve) => stalled.push(resolve))
    return undefined
  })
  const resume = () => {
    isStalling = false
    for (const resolve of stalled) resolve()
  }
  return { address, reached, resume, count: () => counted }
}

/** Runs a command up to a moment at which it is killed. */
async function killedAt(reached: Promise<void>, { home }: Person, args: readonly string[]): Promise<void> {
  const killed = spawnCommand(home, args)
  await reached
  killed.child.kill('SIGKILL')
  await killed.ended
}

t.test('an upload killed in the middle goes on where it was, and seals nothing twice', async (t) => {
  t.testdir()
  const relay = await stalling(t, { what: '"tag":"chunk"', nth: 5 })
  const { alice, bob } = await couple(t, [relay.address], [relay.address])
  const { path, content } = source(t, 3_000_000)
  await killedAt(relay.reached, alice, ['send', 'Bob', '--file', path])
  const [sending] = await alice.client.outbox()
  relay.resume()

  const resumed = spawnCommand(alice.home, ['send', 'Bob', '--file', path])
  const { code, rows } = await resumed.ended
  await bob.client.pull()
  const { files } = await bob.client.finish()

  t.match(sending, { type: 'file', state: 'sending' })
  t.equal(code, 0)
  t.match(rows, [{ id: sending?.id, state: 'delivered' }])
  t.same(readFileSync(join(bob.home, 'files/Alice/source.bin')), content)
  t.match(files, [{ state: 'saved' }])
  t.ok(relay.count() < 12 + 8, `12 chunks took ${relay.count()} uploads`)
  t.match(await alice.client.outbox(), [{ state: 'delivered' }])
})

t.test('a sending that a kill interrupted is finished by any later flush', async (t) => {
  t.testdir()
  const relay = await stalling(t, { what: '"tag":"chunk"', nth: 2 })
  const { alice, bob } = await couple(t, [relay.address], [relay.address])
  const { path, content } = source(t, 1_000_000)
  await killedAt(relay.reached, alice, ['send', 'Bob', '--file', path])
  relay.resume()

  await alice.client.flush()
  await bob.client.pull()
  await bob.client.finish()

  t.same(readFileSync(join(bob.home, 'files/Alice/source.bin')), content)
})

t.test('a download killed in the middle goes on where it was', async (t) => {
  t.testdir()
  const relay = await stalling(t, { what: '"type":"read"', nth: 7 })
  const { alice, bob } = await couple(t, [relay.address], [relay.address])
  const { path, content } = source(t, 3_000_000)
  await alice.client.sendFile(await alice.client.friend('Bob'), path)
  await killedAt(relay.reached, bob, ['pull'])
  relay.resume()

  const { code, rows } = await spawnCommand(bob.home, ['pull']).ended

  t.equal(code, 0)
  t.match(rows, [{ event: 'file', state: 'saved', size: 3_000_000 }])
  t.same(readFileSync(join(bob.home, 'files/Alice/source.bin')), content)
  t.ok(relay.count() <= 1 + 12 + 4, `a file of 12 chunks took ${relay.count()} reads`)
})

t.test('a source that changed meanwhile is refused until its sending is given up', async (t) => {
  t.testdir()
  const relay = await stalling(t, { what: '"tag":"chunk"', nth: 1 })
  const { alice } = await couple(t, [relay.address], [relay.address])
  const { path } = source(t, 500_000)
  await killedAt(relay.reached, alice, ['send', 'Bob', '--file', path])
  relay.resume()
  await utimes(path, 1, 1)
  const bob = await alice.client.friend('Bob')

  await t.rejects(alice.client.sendFile(bob, path), { code: 'ERR_CHANGED' })
  const [sending] = await alice.client.outbox()
  await alice.client.delete(sending?.id ?? '')

  t.match(await alice.client.sendFile(bob, path), { state: 'delivered' })
})

t.test('a file sent while no relay answers waits whole and goes up later', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  let isDown = false
  const proxy = await startProxy(t, relay, (_, answer) => (isDown ? undefined : answer))
  const { alice, bob } = await couple(t, [proxy], [proxy])
  const { path, content } = source(t, 2_000_000)
  isDown = true

  const sent = await alice.client.sendFile(await alice.client.friend('Bob'), path, { attempts: 1 })
  isDown = false
  await alice.client.flush()
  await bob.client.pull()
  await bob.client.finish()

  t.match(sent, { state: 'queued' })
  t.same(readFileSync(join(bob.home, 'files/Alice/source.bin')), content)
})

t.test(
  'chunks fit the smallest record a relay takes, and more than one record can name are named in parts',
  async (t) => {
    t.testdir()
    const relay = await startTestRelay(join(t.testdirName, 'relay'), {
      args: ['--open', '--limit', 'recordBytes=6000'],
    })
    t.teardown(() => relay.close())
    const { alice, bob } = await couple(t, [relay], [relay])
    const chunkBytes = largestChunk(6000)
    const { path, content } = source(t, 70 * chunkBytes + 1)
    const small = encodePayload({ type: 'chunk', size: chunkBytes }, new Uint8Array(chunkBytes)).length + 48

    await alice.client.sendFile(await alice.client.friend('Bob'), path)
    await bob.client.pull()
    await bob.client.finish()

    t.ok(small <= 6000)
    t.same(readFileSync(join(bob.home, 'files/Alice/source.bin')), content)
    t.equal(largestChunk(1 << 20), 262_144)
    t.throws(() => largestChunk(5000), { code: 'ERR_TOO_LARGE' })
  },
)

t.test(
  '§5: a file sent late lives no longer than its chunks, and not at all when they are over',
  async (t) => {
    t.testdir()
    const relay = await startTestRelay(join(t.testdirName, 'relay'))
    t.teardown(() => relay.close())
    let isDown = true
    const proxy = await startProxy(t, relay, (_, answer) => (isDown ? undefined : answer))
    const { alice } = await couple(t, [proxy], [proxy])
    const { path } = source(t, 2_000_000)
    const to = (await alice.client.friend('Bob')).key
    const hourAgo = await contextOf(alice, () => Date.now() - 3_600_000)
    const begin = (ttlSeconds: number) =>
      sendFile(hourAgo, { to, path }, { ttlSeconds, tag: 'late', attempts: 1 })
    const begun = await begin(7200)
    isDown = false

    const sent = await alice.client.sendFile(to, path)
    const all = [...(await entries(hourAgo.home)).values()]
    isDown = true
    const over = await begin(3600)
    isDown = false
    const again = await alice.client.sendFile(to, path)
    await alice.client.flush()

    const head = all.find(({ id }) => id === sent.recordId)!
    t.match(sent, { recordId: begun.recordId, state: 'delivered' })
    t.equal(head.expires, Math.min(...all.map(({ expires }) => expires)))
    t.ok(head.expires <= Date.now() + 3_600_000)
    t.not(again.recordId, over.recordId, 'a sending that is over is given up, and another begins')
    t.equal((await alice.client.outbox()).length, 2)
  },
)

/** Sends a `file` record of our own making with chunks of any kind. */
async function forge(
  alice: Person,
  head: Partial<Payload>,
  chunks: Record<string, Uint8Array>,
): Promise<void> {
  const to = await alice.client.friend('Bob')
  const { post } = await import('../../client/mail/post.ts')
  const ctx = contextOf(alice)
  for (const [recordId, bytes] of Object.entries(chunks)) {
    await post(await ctx, {
      to: to.key,
      recordId,
      tag: 'chunk',
      payload: { type: 'chunk', size: bytes.length },
      bytes,
    })
  }
  await alice.client.send(to, {
    type: 'file',
    name: '../evil.txt',
    chunkBytes: 4,
    size: 0,
    sha256: '0'.repeat(64),
    ...head,
  } as Payload)
}

async function contextOf({ home }: Person, now: () => number = Date.now) {
  const { createContext } = await import('../../client/context.ts')
  const { Home } = await import('../../client/home/home.ts')
  const { fromKeyWallet } = await import('../../client/wallet.ts')
  const { openKeyFile } = await import('../../contracts/wallet/key-file.ts')
  const wallet = fromKeyWallet(await openKeyFile(join(home, 'key.json')))
  return createContext({ home: await Home.open(home), wallet, quorum: 1, now, notify: () => {} })
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

t.test('a file that is not what its sender promised gets no name', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const { alice, bob } = await couple(t, [relay], [relay])
  const four = Buffer.from('four')
  await forge(alice, { size: 4, chunks: ['a1'] } as Partial<Payload>, { a1: four })
  await forge(alice, { size: 9, sha256: sha256(four), chunks: ['b1'] } as Partial<Payload>, { b1: four })
  await forge(alice, { size: 4, sha256: sha256(four), chunks: ['c1'] } as Partial<Payload>, {
    c1: Buffer.from('fiver'),
  })
  await forge(alice, { size: 4, sha256: sha256(four), parts: ['d1'] } as Partial<Payload>, {
    d1: Buffer.from('["../x"]'),
  })
  await forge(alice, { size: 4, sha256: sha256(four), chunks: ['e1'] } as Partial<Payload>, { e1: four })
  await forge(alice, { size: 4, sha256: sha256(four), chunks: ['f1'] } as Partial<Payload>, {})
  const parts = { d2: Buffer.from('["a1"]') }
  await forge(alice, { size: 4, sha256: sha256(four), parts: ['d2'] } as Partial<Payload>, parts)

  await bob.client.pull()
  const { files } = await bob.client.finish()

  const failed = files.filter(({ state }) => state === 'failed')
  t.equal(failed.length, 4)
  t.same(
    files.flatMap((file) => (file.state === 'saved' ? [file.file] : [])),
    ['__evil.txt', '__evil (2).txt'].map((name) => join(bob.home, 'files/Alice', name)),
  )
  t.match(
    bob.notices.filter(({ type }) => type === 'transfer-failed'),
    [{ error: { code: 'ERR_NOT_FOUND' } }],
  )
})

t.test('progress is told up to the last byte', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const { alice, bob } = await couple(t, [relay], [relay])
  const { path } = source(t, 600_000)
  const seen: string[] = []
  const onProgress = ({
    direction,
    doneBytes,
    totalBytes,
  }: {
    direction: string
    doneBytes: number
    totalBytes: number
  }) => void seen.push(`${direction} ${doneBytes}/${totalBytes}`)

  await alice.client.sendFile(await alice.client.friend('Bob'), path, { onProgress })
  await bob.client.pull()
  await bob.client.finish({ onProgress })

  t.equal(seen[0], 'sending 0/600000')
  t.ok(seen.includes('sending 600000/600000'))
  t.equal(seen.at(-1), 'fetching 600000/600000')
  t.equal(formatAddress(relay).includes('#'), true)
})
