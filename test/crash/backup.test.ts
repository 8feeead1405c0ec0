/** A process killed in the middle of a backup or a restore leaves nothing that is taken for a whole one. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { restoreBackup } from '../../relay/store/restore.ts'
import { Store } from '../../relay/store/store.ts'
import { allButMeta, backedUp, makeData, rowsIn, rowsOf } from '../fixtures/backups.ts'
import { compiled } from '../fixtures/compiled.ts'
import { start } from '../fixtures/records.ts'

t.setTimeout(280_000)

const importing = (name: string, file: string) =>
  `import { ${name} } from '${compiled(join('relay/store', file))}'`

/** Backs up argv[1] to argv[2], and says so after each row or so. */
const backingUp = `${importing('writeBackup', 'backup.ts')}
${importing('openDatabase', 'database.ts')}
const [data, directory] = process.argv.slice(1)
const database = await openDatabase(data + '/store')
let now = 0
await writeBackup({
  snapshot: database.snapshot(),
  key: data + '/relay.key',
  directory,
  now: ${start},
  signal: new AbortController().signal,
  pace: { monotonic: () => (now += 1000), wait: async () => console.log('slice') },
})`

/** Restores argv[1] to argv[2]. */
const restoring = `${importing('restoreBackup', 'restore.ts')}
const [backup, data] = process.argv.slice(1)
console.log('begun')
await restoreBackup({ backup, data, now: ${start} })`

/** Runs a program until it ends, or is killed at a line it says, or some time after it. */
async function run(text: string, args: string[], killed?: { line: number; afterMs: number }): Promise<void> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', text, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const closed = once(child, 'close')
  let lines = 0
  let timer: NodeJS.Timeout | undefined
  for await (const _ of createInterface({ input: child.stdout })) {
    if (++lines !== killed?.line) continue
    if (killed.afterMs === 0) child.kill('SIGKILL')
    else timer = setTimeout(() => child.kill('SIGKILL'), killed.afterMs)
  }
  await closed
  clearTimeout(timer)
}

t.test('a backup', async (t) => {
  const { data, database } = await makeData(t, { rows: 20_000 })
  const rows = await rowsOf(database)
  await database.close()

  for (const line of [1, 4, 12]) {
    const directory = join(data, `backup-${line}`)
    await run(backingUp, [data, directory], { line, afterMs: 0 })
    t.strictSame(readdirSync(directory), ['store.backup.part'], 'killed in the middle')
    const attempt = restoreBackup({ backup: directory, data: join(data, 'new'), now: start })
    await t.rejects(attempt, { code: 'ERR_NOT_FOUND' })
  }
  await run(backingUp, [data, join(data, 'backup')])

  await restoreBackup({ backup: join(data, 'backup'), data: join(data, 'new'), now: start })
  t.strictSame(allButMeta(await rowsIn(join(data, 'new', 'store'))), allButMeta(rows))
})

t.test('a restore, which is run again until it is done', async (t) => {
  const { data, backup, rows } = await backedUp(t, { rows: 20_000, bytes: 1000 })
  const target = join(data, 'new')
  const left = new Map<string, number>()

  for (let afterMs = 30; !existsSync(join(target, 'relay.key')); afterMs = Math.ceil(afterMs * 1.4)) {
    await run(restoring, [backup.directory, target], { line: 1, afterMs })
    const names = existsSync(target) ? readdirSync(target).sort().join(' ') : 'nothing'
    left.set(names, (left.get(names) ?? 0) + 1)
    // Between its last two steps: whole, but without its key, so that no relay starts on it and a person finishes it.
    if (names.split(' ').includes('store'))
      cpSync(join(backup.directory, 'relay.key'), join(target, 'relay.key'))
  }

  t.ok((left.get('store.restoring') ?? 0) >= 2, `killed in the middle: ${JSON.stringify([...left])}`)
  t.strictSame(allButMeta(await rowsIn(join(target, 'store'))), allButMeta(rows))
  const store = await Store.open({ directory: join(target, 'store'), now: () => start })
  t.equal(store.meta.restoredAt, start)
  await store.close()
})
