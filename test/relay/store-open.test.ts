/** What a store refuses to open, and what it still has after its process was killed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { storeVersion } from '../../relay/store/meta.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { countersKey, headKey, metaKey } from '../../relay/store/keys.ts'
import { Store } from '../../relay/store/store.ts'
import { compiled } from '../fixtures/compiled.ts'
import { makeRead, makeRecord, openStore, pathOf, start, termsOf } from '../fixtures/records.ts'

t.setTimeout(280_000)

const open = (directory: string) => Store.open({ directory, now: () => start })

/** Writes one row past the store. */
async function tamper(directory: string, key: Buffer, value: string | Buffer): Promise<void> {
  const database = await openDatabase(directory)
  await database.write([{ key, value: Buffer.from(value) }])
  await database.close()
}

t.test('a store keeps its epoch, its records and its counters across restarts', async (t) => {
  const directory = t.testdir()
  const first = await open(directory)
  const record = await makeRecord()
  const result = await first.write(record, termsOf(record))
  const { meta } = first
  const head = first.head()
  await first.close()

  const again = await openStore(t, { directory })

  t.strictSame(again.meta, meta)
  t.match(meta, { version: storeVersion, epoch: /^[0-9a-f]{16}$/, startedAt: start })
  t.equal(again.head(), head)
  t.strictSame(await again.write(record, termsOf(record)), { ...result, outcome: 'duplicate' })
  t.match(again.counters(record.msg.from), { records: 1 })
})

t.test('a store is open once', async (t) => {
  const directory = t.testdir()
  await openStore(t, { directory })

  await t.rejects(open(directory), { code: 'ERR_BUSY', extras: { reason: 'locked' } })
})

t.test('a store of another version is refused, and may be opened by that version after', async (t) => {
  for (const [reason, version] of [
    ['newer', storeVersion + 1],
    ['older', storeVersion - 1],
  ] as const) {
    const directory = t.testdir()
    const meta = `{"version":${version},"epoch":"0123456789abcdef","startedAt":1}`
    await tamper(directory, metaKey('store'), meta)
    for (let n = 0; n < 2; n++) {
      await t.rejects(open(directory), {
        message: new RegExp(`version ${version}, this program knows only ${storeVersion}`),
        code: 'ERR_INTERNAL',
        extras: { reason },
      })
    }
  }
})

t.test('damage is refused when it is met, never served', async (t) => {
  const damaged = { code: 'ERR_INTERNAL', extras: { reason: 'damaged' } }
  const fresh = async (name: string) => {
    const directory = t.testdir({ [name]: {} })
    const store = await open(directory)
    const record = await makeRecord({ recordId: 'a' })
    await store.write(record, termsOf(record))
    await store.close()
    return { directory, record, path: pathOf(record) }
  }

  for (const [name, text] of [
    ['no JSON', '{'],
    ['no version', '{"epoch":"0123456789abcdef","startedAt":1}'],
  ] as const) {
    const { directory } = await fresh(name)
    await tamper(directory, metaKey('store'), text)
    await t.rejects(open(directory), damaged, name)
  }
  const { directory: placeless } = await fresh('place')
  await tamper(placeless, metaKey('place'), Buffer.of(1, 255))
  await t.rejects(open(placeless), damaged, 'the last place')

  const { directory, path, record } = await fresh('head')
  for (const bytes of [
    Buffer.of(),
    Buffer.of(9),
    Buffer.of(1, 255),
    Buffer.alloc(300, 255),
    Buffer.alloc(300, 1),
  ]) {
    await tamper(directory, headKey(path), bytes)
    await tamper(directory, countersKey(path.owner), bytes)
    const store = await open(directory)
    await t.rejects(store.read(makeRead(path, 1)), damaged)
    await t.rejects(store.write(record, termsOf(record)), damaged)
    t.throws(() => store.counters(path.owner), damaged)
    await store.close()
  }

  const { directory: noManifest } = await fresh('manifest')
  writeFileSync(join(noManifest, 'CURRENT'), 'MANIFEST-999999\n')
  await t.rejects(open(noManifest), { code: 'ERR_INTERNAL' })
  const { directory: garbled } = await fresh('garbled')
  for (const file of readdirSync(garbled).filter((name) => name.startsWith('MANIFEST'))) {
    writeFileSync(join(garbled, file), Buffer.alloc(4096, 7))
  }
  await t.rejects(open(garbled), damaged)
})

t.test('a database of something else is not taken for a store', async (t) => {
  const directory = t.testdir()
  await tamper(directory, Buffer.from('a'), 'b')

  await t.rejects(open(directory), { code: 'ERR_INTERNAL', extras: { reason: 'damaged' } })
})

t.test('nothing acknowledged is missing after a kill in the middle of writing', async (t) => {
  const directory = t.testdir()
  const said = new Map<string, string[]>()

  for (let round = 0; round < 5; round++) {
    const args = [compiled('test/fixtures/store-writer.ts'), directory, `${round}`]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const closed = once(child, 'close')
    let lines = 0
    for await (const line of createInterface({ input: child.stdout })) {
      const [outcome, recordId] = line.split(' ') as [string, string]
      said.set(recordId, [...(said.get(recordId) ?? []), outcome])
      if (++lines === 100 + 37 * round) child.kill('SIGKILL')
    }
    await closed
    t.ok(lines >= 100)

    const store = await open(directory)
    await Promise.all(
      [...said].map(async ([recordId, outcomes]) => {
        const record = await makeRecord({ recordId, maxPulls: 2 })
        const { outcome } = await store.write(record, termsOf(record))
        const deleted = outcomes.includes('deleted')
        // What was asked for last may have become durable without being acknowledged.
        const possible = deleted
          ? ['conflict']
          : outcomes.length === 1
            ? ['duplicate', 'conflict']
            : ['duplicate']
        if (!possible.includes(outcome)) t.fail(`${recordId} was ${outcomes} and is ${outcome}`)
        if (!outcomes.includes('record')) return
        const repeat = await store.read(makeRead(pathOf(record), 'once'))
        if (repeat.outcome !== 'record') t.fail(`the pull of ${recordId} was forgotten`)
      }),
    )
    t.equal(store.state, 'ready')
    await store.close()
  }
})
