/**
 * `make`, remembering its last used `capacity` results. What it throws is not remembered.
 * Results are shared between callers, who must not write to them.
 */
export function lru<V extends {}>(capacity: number, make: (key: string) => V): (key: string) => V {
  const entries = new Map<string, V>() // a Map iterates in the order of insertion: least recently used first
  return (key) => {
    const known = entries.get(key)
    const value = known ?? make(key)
    if (known !== undefined) entries.delete(key)
    entries.set(key, value)
    if (entries.size > capacity) entries.delete(entries.keys().next().value as string) // not empty: just set
    return value
  }
}
