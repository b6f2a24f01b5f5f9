/** The syntax tree of a bundle, as scripts of the build walk over it. */
import { parse } from 'acorn';

export const parseModule = (source) => parse(source, { ecmaVersion: 'latest', sourceType: 'module', allowHashBang: true });

export function forChildren(node, act) {
  for (const key in node) {
    const value = node[key];
    if (Array.isArray(value)) for (const child of value) if (child !== null) act(child);
    if (typeof value?.type === 'string') act(value);
  }
}
