/** What it takes to bring a folder of many small files in step, and to keep it so. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from '../client/index.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { withFolder, withRelay } from './relay-process.ts'

const sizes = { files: 10_000, bytes: 1000, folders: 50 } as const
/** Files that change before the second sync. */
const changes = 100
const mb = 1e6

async function sync(bench: Bench): Promise<Figure[]> {
  return withFolder((folder) =>
    withRelay(bench, {}, async ({ url, key }) => {
      const relays = [`${url}#${key}`]
      const [alice, bob] = await Promise.all(
        ['Alice', 'Bob'].map((label) => Client.init(join(folder, label), { label, relays })),
      )
      if (alice === undefined || bob === undefined) throw new Error('there are two')
      await alice.addFriend((await bob.me()).text)
      await bob.addFriend((await alice.me()).text)
      const [hers, his] = [join(folder, 'hers'), join(folder, 'his')]
      mkdirSync(his)
      for (let file = 0; file < sizes.files; file++) write(hers, file)
      const up = () => alice.folders.sync(hers, bob.identity, { name: 'bench' })
      const down = () => bob.folders.sync(his, alice.identity, { name: 'bench' })

      bench.note(`${sizes.files} files of ${sizes.bytes} B up`)
      const first = await timed(up)
      bench.note('and down')
      const taken = await timed(down)
      await up()
      for (let file = 0; file < changes; file++) write(hers, file * 97)
      bench.note(`${changes} of them changed`)
      const second = await timed(up)
      const again = await timed(down)
      const idle = await timed(up)
      const wrong = taken.done.received.length !== sizes.files || again.done.received.length !== changes
      if (wrong) throw new Error(`${taken.done.received.length} and ${again.done.received.length} files came`)
      return [
        { what: `sync: ${sizes.files} files up`, value: { amount: first.seconds, unit: 's' } },
        { what: `sync: ${sizes.files} files down`, value: { amount: taken.seconds, unit: 's' } },
        { what: 'sync: records of the first version', value: { amount: first.done.sent.records, unit: '' } },
        {
          what: 'sync: pieces of the first version',
          value: { amount: first.done.sent.bytes / mb, unit: 'MB' },
        },
        { what: `sync: ${changes} changed files up`, value: { amount: second.seconds, unit: 's' } },
        {
          what: `sync: pieces for ${changes} changed files`,
          value: { amount: second.done.sent.bytes / mb, unit: 'MB' },
        },
        { what: 'sync: nothing changed', value: { amount: idle.seconds, unit: 's' } },
      ]
    }),
  )
}

function write(directory: string, file: number): void {
  const folder = join(directory, String(file % sizes.folders))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${file}.txt`), randomBytes(sizes.bytes))
}

async function timed<T>(work: () => Promise<T>): Promise<{ done: T; seconds: number }> {
  const began = performance.now()
  const done = await work()
  return { done, seconds: (performance.now() - began) / 1000 }
}

export const syncParts: readonly Part[] = [
  { name: 'sync', about: 'a folder of 10,000 small files, up, down, and after changes', run: sync },
]
