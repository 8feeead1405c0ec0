/** Where a relay's main thread spent its time, from the profiles node writes. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const Profile = z.object({
  nodes: z.array(
    z.object({
      id: z.int(),
      callFrame: z.object({ functionName: z.string(), url: z.string(), lineNumber: z.int() }),
    }),
  ),
  samples: z.array(z.int()),
  timeDeltas: z.array(z.int()),
})

const shown = 25

/** Prints, for each profile in `folder`, the functions with the most time of their own. */
export function printProfiles(folder: string, print: (text: string) => void): void {
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'))) {
    const { nodes, samples, timeDeltas } = Profile.parse(JSON.parse(readFileSync(join(folder, file), 'utf8')))
    const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
    const selfMicros = new Map<string, number>()
    samples.forEach((id, index) => {
      const name = names.get(id) ?? '?'
      selfMicros.set(name, (selfMicros.get(name) ?? 0) + (timeDeltas[index] ?? 0))
    })
    selfMicros.delete('(idle)')
    const total = [...selfMicros.values()].reduce((sum, micros) => sum + micros, 0)
    print(`\n${join(folder, file)}: ${(total / 1e6).toFixed(1)} s busy`)
    const ranked = [...selfMicros].sort(([, a], [, b]) => b - a).slice(0, shown)
    for (const [name, micros] of ranked)
      print(`${((micros / total) * 100).toFixed(1).padStart(6)} %  ${name}`)
  }
}

function nameOf({
  functionName,
  url,
  lineNumber,
}: {
  functionName: string
  url: string
  lineNumber: number
}): string {
  const place = url.replace(/^.*\/(?:dist|node_modules)\//, '')
  return `${functionName || '(anonymous)'}${place === '' ? '' : `  ${place}:${lineNumber + 1}`}`
}
