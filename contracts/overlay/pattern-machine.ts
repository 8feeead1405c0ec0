/** The machine that a pattern of message boxes becomes (box-pattern.ts): it follows all positions at once, and tries nothing again. */

/** Of one machine, after counted repetitions are written out. */
const mostSteps = 512

export type Accepts = (code: number) => boolean
export type Node =
  | { readonly kind: 'take'; readonly accepts: Accepts }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'all'; readonly parts: readonly Node[] }
  | { readonly kind: 'any'; readonly parts: readonly Node[] }
  | { readonly kind: 'repeat'; readonly part: Node; readonly least: number; readonly most: number }

export interface Pattern {
  /** As `RegExp.test`. @param text bounded by whoever asks */
  test(text: string): boolean
}

export class NoPattern extends Error {}

type Step =
  | { readonly kind: 'take'; readonly accepts: Accepts; next: number }
  | { readonly kind: 'split'; next: number; other: number }
  | { readonly kind: 'start' | 'end'; next: number }
  | { readonly kind: 'done' }

/** @throws NoPattern when it would be too large */
export function machineOf(node: Node): Pattern {
  const steps: Step[] = [{ kind: 'done' }]
  const first = compile(node, 0, steps)
  return { test: (text) => run(steps, first, text) }
}

/** Puts the steps of a node before `next`. @returns its first */
function compile(node: Node, next: number, steps: Step[]): number {
  const add = (step: Step): number => {
    if (steps.length === mostSteps) throw new NoPattern()
    return steps.push(step) - 1
  }
  if (node.kind === 'take') return add({ kind: 'take', accepts: node.accepts, next })
  if (node.kind === 'start' || node.kind === 'end') return add({ kind: node.kind, next })
  if (node.kind === 'all') return node.parts.reduceRight((after, part) => compile(part, after, steps), next)
  if (node.kind === 'any')
    return node.parts
      .map((part) => compile(part, next, steps))
      .reduceRight((other, first) => add({ kind: 'split', next: first, other }))
  const { part, least, most } = node
  let first = next
  if (most === Number.POSITIVE_INFINITY) {
    first = add({ kind: 'split', next, other: next })
    const loop = steps[first] as { next: number } // the split that was just added
    loop.next = compile(part, first, steps)
  } else {
    for (let count = least; count < most; count++)
      first = add({ kind: 'split', next: compile(part, first, steps), other: next })
  }
  for (let count = 0; count < least; count++) {
    const before = first
    first = compile(part, before, steps)
    // Nothing, how ever often, is nothing: else it could be asked for without end.
    if (first === before) break
  }
  return first
}

function run(steps: readonly Step[], first: number, text: string): boolean {
  let here = new Set<number>()
  for (let at = 0; ; at++) {
    // A match may begin anywhere.
    reach(steps, first, { at, length: text.length }, here)
    if (here.has(0)) return true
    if (at === text.length) return false
    const code = text.charCodeAt(at)
    const after = new Set<number>()
    for (const index of here) {
      const step = steps[index]!
      if (step.kind === 'take' && step.accepts(code))
        reach(steps, step.next, { at: at + 1, length: text.length }, after)
    }
    here = after
  }
}

/** What can be reached from a step without taking anything. */
function reach(
  steps: readonly Step[],
  from: number,
  { at, length }: { at: number; length: number },
  reached: Set<number>,
): void {
  const open = [from]
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    if (reached.has(index)) continue
    reached.add(index)
    const step = steps[index]!
    if (step.kind === 'split') open.push(step.next, step.other)
    if ((step.kind === 'start' && at === 0) || (step.kind === 'end' && at === length)) open.push(step.next)
  }
}
