// Pages whose subject this run does not have: they say so in words, and keep their address.

import { element } from "./dom.js";

function absentPage(name, title) {
  return {
    name,
    title,
    mount(root) {
      const why = element("p", { class: "facts", id: `${name}-facts` });
      root.append(why);
      return (view) => {
        why.textContent = view.why;
      };
    },
  };
}

export const certificatesPage = absentPage("certificates", "Certificates");
export const programsPage = absentPage("programs", "Programs");
