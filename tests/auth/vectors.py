"""Secrets that ``doveadm pw -s SCHEME -p PASSWORD`` (Dovecot 2.3.19) made, for the four passwords of `PASSWORDS`."""

from __future__ import annotations

PASSWORDS = {
    "utf8": b"p\xc3\xa4ssw\xc3\xb6rt:}",
    "octets": b"\xff\xfe\x80 8bit",
    "empty": b"",
    "long": b"0123456789" * 10,  # more than bcrypt looks at
}

SECRETS = {
    "PLAIN": {
        "utf8": b"{PLAIN}p\xc3\xa4ssw\xc3\xb6rt:}",
        "octets": b"{PLAIN}\xff\xfe\x80 8bit",
        "long": b"{PLAIN}0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    },
    "CLEARTEXT": {
        "utf8": b"{CLEARTEXT}p\xc3\xa4ssw\xc3\xb6rt:}",
        "octets": b"{CLEARTEXT}\xff\xfe\x80 8bit",
        "long": b"{CLEARTEXT}0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    },
    "CRYPT": {
        "utf8": b"{CRYPT}$2y$05$up4IrrzkDFJAMYKSEhLRYezSAVxCgo4RuTBbZumklN28cbHR07ym.",
        "octets": b"{CRYPT}$2y$05$djIgbqU.69jQwHVKQkPtCeweUHWkAhc3ysAf6M.Q/br3E3NecGORC",
        "empty": b"{CRYPT}$2y$05$nIKWvwaC97CdNxT4WHwmIeJ8vjus7nQd2DbvoQq6e5c3BdffpRFl.",
        "long": b"{CRYPT}$2y$05$dVO1Q3MwB0s6MBJAKY/jcO4xhjh2ipSOrIa8GvnqdejogDvfYG1ry",
    },
    "MD5-CRYPT": {
        "utf8": b"{MD5-CRYPT}$1$J8j1aVXP$HRdEsGo.E0/CnB0MWBVpM/",
        "octets": b"{MD5-CRYPT}$1$g7lq.gSX$1efOaES8q7Ws.8kEpN9kI1",
        "empty": b"{MD5-CRYPT}$1$/NhUHBXb$mklSWN6f77kH9XanXl2LQ1",
        "long": b"{MD5-CRYPT}$1$pSov1cXt$4rHERL.98nnTJgRAP3qXW/",
    },
    "SHA256-CRYPT": {
        "utf8": b"{SHA256-CRYPT}$5$aJPUXK/4xoq5IT4g$IIcV/J5/uccHgnmalUSZbGDg7UFEf5pg4P1yMvMKQB9",
        "octets": b"{SHA256-CRYPT}$5$gy5rs/7iL5oFiTg7$JXClH4A88jcvlQ28HoEVU4TqXdkkoB48wQrzkLFHGO4",
        "empty": b"{SHA256-CRYPT}$5$Gf5mFwk4LrA9T0.P$X7E4OS9eN01NIxPUSWxdSM4HmC75XWwbErObBkwL3M/",
        "long": b"{SHA256-CRYPT}$5$X0pudZM1LPyxYaPX$Z//.ZPXm9S6W.OOrxRT5dXwxdXRvvzGtd.tA5OJuTv7",
    },
    "SHA512-CRYPT": {
        "utf8": b"{SHA512-CRYPT}$6$UQtMSQCNp/alco3s$LlCHkrltZccu7mcSEsdyh/ZtQ1TtfdBsfLPiD44UVfDPUIhKP6u3me3p7rQduU.6hV7RKcKOkZdJ6AQIvVgv90",
        "octets": b"{SHA512-CRYPT}$6$6T0ghctlTrMvrD7H$SJmT1CCo0SLUid8/iUbms/QsvfOuCEjg4ZFKK/jAiUjPZovp05LMOd7LNma23W/2OeC5MiMBsiGH6SG1/raT31",
        "empty": b"{SHA512-CRYPT}$6$HN8ZWZZTnkugIxGI$1tNEZyqI6ul1qYkN8nRNhwu4HkyEvhipXFr.2BC47cWq4BszYlHh8xHCJGye66UnO5Ra6Uas50ypsFwvu0uac.",
        "long": b"{SHA512-CRYPT}$6$EyZvlVXFQpyg3/Vz$2I.dw0XHAZQ/mxOCRudXLbjnIbSgcLfss/myowCZLCIUcQfqMBMP7alaRGMOA/pba7s5NLJIFsN67vqnZY0jO0",
    },
    "BLF-CRYPT": {
        "utf8": b"{BLF-CRYPT}$2y$05$D8OReLWeU.Zsm8OOEOH3yOPtZZEQO4ZL9O8KdIBhVp89O4wDa8bBa",
        "octets": b"{BLF-CRYPT}$2y$05$X/j.iHcA23ae/ODfCYGyne.Spg.2.m.m9Qqky4Brmk4Z0xM5hoCw2",
        "empty": b"{BLF-CRYPT}$2y$05$ZygRBAzEZznUfgTBvW4pD.1ysZde2EaGFmAXcz3Up98OJ56hff4dS",
        "long": b"{BLF-CRYPT}$2y$05$y4XHS1r2h3ygKwqhvR2cxuXkAEmlxGBuMl3ZoIvjDoM4hyBQrgo0q",
    },
    "SHA": {
        "utf8": b"{SHA}fRqsgjR+FKvMt+4YxAdsT4i1jCE=",
        "octets": b"{SHA}Q05FmYjd75zKac9fOIVao3shnHo=",
        "empty": b"{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "long": b"{SHA}KbDnh4JxZF//t+7H20p0c6HAC8E=",
    },
    "SHA1": {
        "utf8": b"{SHA1}fRqsgjR+FKvMt+4YxAdsT4i1jCE=",
        "octets": b"{SHA1}Q05FmYjd75zKac9fOIVao3shnHo=",
        "empty": b"{SHA1}2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "long": b"{SHA1}KbDnh4JxZF//t+7H20p0c6HAC8E=",
    },
    "SSHA": {
        "utf8": b"{SSHA}OxsCm1xIq6Fgbob1apLOoJUMcVyCf0+B",
        "octets": b"{SSHA}gt/Rv6pTZsRuJ+N4LZnA8FYug/kEuNGI",
        "empty": b"{SSHA}s0gpm785GEFKK3ja7UfQ2IPjoHenH5VE",
        "long": b"{SSHA}l5Drpqd5Ro3Q5lRYkknZj6wIihieYmT2",
    },
    "SHA256": {
        "utf8": b"{SHA256}qCATvrH6e3oZ3LYt7tj+XsRZnedhO4cKCu5cmpsq34o=",
        "octets": b"{SHA256}9FLMPn1Vl11fsUG2xMtR/01vl2v0d4spSCmmUs7gyJg=",
        "empty": b"{SHA256}47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "long": b"{SHA256}nP5/r/cFQpjKh1V+FaECYt6NPu53gnQX+9/qHEG57CM=",
    },
    "SSHA256": {
        "utf8": b"{SSHA256}WA9eRFWglc8CgvnhqKreNGSK0FP2LF9/3UlwItPoe90y96YV",
        "octets": b"{SSHA256}2A2Y4CXrKVxxLoE9ENcs0N5lu1raA+J+Q3by337MDq5Zk4RZ",
        "empty": b"{SSHA256}pvHz9tI095OqoibD5R7RtrJK/7GtCEgslM2uI/vjPiDJuUV5",
        "long": b"{SSHA256}+q0T3LksLikcSWoZrAMJaPA6+OxGSjMnaXNpePrg9ad7L/tp",
    },
    "SHA512": {
        "utf8": b"{SHA512}fJHIux0FG6zqBEvXqK0E2ud23FnxCGp2GI+ltu/S8L0rHctHBAqjWSBFm6GXi1OyYVePhgjvgCLw01IdVcbhWQ==",
        "octets": b"{SHA512}C/C8ocn2wBkMvPoQQw4Ej9JReWXzYlnns4nOpLChgbAUQ8+6kJftSenAI2cx1hBnH4+IOujsRxfH05iB4ALQ4Q==",
        "empty": b"{SHA512}z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        "long": b"{SHA512}Y3oWsprgF6zojZniR1UYFE9QbTlPxMnGd4j4WJRx06ATVsy4XMlOqGRy0X8JP7oKTdfD4ybbWbuBgbv88drtEA==",
    },
    "SSHA512": {
        "utf8": b"{SSHA512}yh4Vl6r5dskRW4to+VqbRlGCY/barjBGgDzOR7jAkPrwXMOyTds5HQI/kp8rlUG5OnJFl8sNx11oGYQeJ6yixaGc1g0=",
        "octets": b"{SSHA512}5pdK4osSkhVAOm1NzlF+m1Mve4p1D6VqyMRqhwPgNogECyXaTt5M2Cx5dNu7TCWP5U8sHkWZT6bp78LAq5GpX4URN1M=",
        "empty": b"{SSHA512}TdcEhC/jfW9TmHM0JDDJ1zXwPt5CpOZ0LUnSFe29gHXBNDGSIdoyA1HoV9wpUZyWUfQNUvn3KdLKKONcicvI/7c+RGY=",
        "long": b"{SSHA512}EItnQPpaoLKKTEZ3gcjkrCgX/kOZUsI5dUaRmmus5kxyNc+cM+2xAMGHdeZyvaD39CEgMCaCxlYbwoTEN6zlP3RI6yA=",
    },
    "SMD5": {
        "utf8": b"{SMD5}pYjlHURjD32jLoeeBls0z6njuyI=",
        "octets": b"{SMD5}edBTFc1fqQQ5AEVTx4Iv+xQJrfo=",
        "empty": b"{SMD5}+J4CYtAR/vc7qaVRSHPI/CxLawc=",
        "long": b"{SMD5}KpHoX1VTHoQTP69wHSASO2+LRp0=",
    },
    "PLAIN-MD5": {
        "utf8": b"{PLAIN-MD5}e94ef7476d8f48472178d6271d230ea0",
        "octets": b"{PLAIN-MD5}ddb6414b362ea3abed8ab53f22ca7e2c",
        "empty": b"{PLAIN-MD5}d41d8cd98f00b204e9800998ecf8427e",
        "long": b"{PLAIN-MD5}7a08b07e84641703e5f2c836aa59a170",
    },
    "LDAP-MD5": {
        "utf8": b"{LDAP-MD5}6U73R22PSEcheNYnHSMOoA==",
        "octets": b"{LDAP-MD5}3bZBSzYuo6vtirU/Isp+LA==",
        "empty": b"{LDAP-MD5}1B2M2Y8AsgTpgAmY7PhCfg==",
        "long": b"{LDAP-MD5}egiwfoRkFwPl8sg2qlmhcA==",
    },
    "PBKDF2": {
        "utf8": b"{PBKDF2}$1$I.Po7AuAyPqnuzA1$1000$9d9ab31c81e35efbbc9eb81d2137638817b2ab69",
        "octets": b"{PBKDF2}$1$MdpOUn2JQSEtINep$1000$094c56f8ea5f00ae2b83af146f30cda060696b44",
        "empty": b"{PBKDF2}$1$1EVvc/a1gZH2tIwz$1000$d91000abb799477ddc20975ca33e94dd1de4409c",
        "long": b"{PBKDF2}$1$feFf0fBJB5/SB70d$1000$f89047e96ab3b4f291e3b16366e74d6a8c531236",
    },
    "ARGON2I": {
        "utf8": b"{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$oQcHNNcyNUJS9UYyF/1IIA$8TZi0tO4sCXEWFe0yRTB7wAMr8FzbYU5hPyGLnAPRPA",
        "octets": b"{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$uhHb01R8ivccNd+jBg61kA$KUqIuckNBpqTayZUGRD4Q3MZwvuyFIVZlZLnmFXFYWc",
        "empty": b"{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$9hbga53Ui9p+VzKTvqJDZw$y2EtxQC+hVJAtL25DlsFMnt0LwAdrIaFh/ymXRt02mc",
        "long": b"{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$5GtYzEg3EPeCYgemhua72Q$cwHu+PZrErSLNxL+INA+fDfIYyHXQKfLWbvM7dJutFs",
    },
    "ARGON2ID": {
        "utf8": b"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$e3SjE7S8hfgtpOrWEKmhAA$CxPr9FZOXWGkB+bRhmZYJbq4pVdJ+Ye750FokKr9PXQ",
        "octets": b"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$/Y7qKui/qcq9ciTYnLf0Ng$dP1FAxePXb5+OJCP5xBN9HIe8t6r7kaM7ZU3RwUTpeg",
        "empty": b"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$iVvgeFmc44S5FxJiqjuhsA$6eAqHsCcakJmUJztirpRbW9YMi3Cl7RcYspn7ijqHMc",
        "long": b"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$P4l+9VHPxzQiua37hR+fow$MlKGlhWATo7aVzENuWENHGY9nDsoeyKjBtB5yK7YdZI",
    },
    "SCRAM-SHA-1": {
        "utf8": b"{SCRAM-SHA-1}4096,5R78uJRhEXbqaDNXm9/gvQ==,tYvqFQ9S3eJsrXEZky8ysZX/KZk=,OUseV5uAGCqcZSer/ua1A4JCcOA=",
        "octets": b"{SCRAM-SHA-1}4096,1vztStVettkYMU4YXmu7jQ==,Dgi7FJ9WiCLXyATVh+x6rx+YNt4=,riT+P6PxbnU963ZD+ifqneRaIHs=",
        "empty": b"{SCRAM-SHA-1}4096,S3dwTEMCOAMJVuF43fubNw==,4PpAmUlBDEDsBJ/NsvcxCflQqrA=,ZdE6Z/ld+7n8blQeJo07kZGH4Co=",
        "long": b"{SCRAM-SHA-1}4096,P4gx8yTWWmLwwqLMkMTAOg==,iiddSlk406HnILYVi1wcUlqxzW8=,QoLgk3XQLqN31C75fg5Aq4kbq4U=",
    },
    "SCRAM-SHA-256": {
        "utf8": b"{SCRAM-SHA-256}4096,rKCSa0a5529f9VQuI1waIw==,y7q1S1L5tncgXl0sBuHvI1nUp3vptQDDrAoQbzu3FAE=,wvpxagOWPWMusy7Eauz/f9DSBkIKwEFDUHqV8DCcRlA=",
        "octets": b"{SCRAM-SHA-256}4096,TGKOaLNwlaoBLHB3gQFxmg==,XcSn66cyV+U8b2xKy34YohDaE6Yh5nqazHfVyh5RpYk=,4aeH5PnmdKTI9xl7fiMTd5X84rsG0SCR0cixrdOC0eA=",
        "empty": b"{SCRAM-SHA-256}4096,cJuc4yACYBeOLVqRFrqSEA==,kfqgSBXAo7bC9DyejINy85c7R5jeAkrcC8994nnZ3Jc=,9lXHFy/J9v98KrBdVvobiZXGdq9bj/AqXBNN70ANy60=",
        "long": b"{SCRAM-SHA-256}4096,pECc19QwOA7oQAFXF4WdkA==,F1r8IqEfeyUsI837n78oGpOo7StLqAuZhHsJANIiPpU=,1nq7E1urvhva6VETs1iIjq8E6HizXwSAjghE+rQ95ho=",
    },
    "CRAM-MD5": {
        "utf8": b"{CRAM-MD5}116d8dde72a52f0d25ececcabf14fdd85d1087f6c5698bf26537ae7042cf15de",
        "octets": b"{CRAM-MD5}10f2423402fc776e206fa1393f93a4021da84bf20577b6ea1f3e46ac0bdc34eb",
        "long": b"{CRAM-MD5}02d5d9f76f5960d8334deb0bd68f69df149548aab322f164c1e133dad07b2e40",
    },
    "MD5": {
        "utf8": b"{MD5}$1$a.x-y@z$ZQtMUBL7PscKDlnASJiHw.",
        "octets": b"{MD5}$1$a.x-y@z$UiUDvDmfCCL70Px/hHGyO1",
        "empty": b"{MD5}$1$a.x-y@z$NlQP1tNPcFQuFfwtrtTij1",
        "long": b"{MD5}$1$a.x-y@z$17vm0T4CznQ5fk0JbRk5k.",
    },
    "DES-CRYPT": {
        "utf8": b"{DES-CRYPT}abzp3RXJm5gNA",
        "octets": b"{DES-CRYPT}abq.94AeTLJjI",
        "empty": b"{DES-CRYPT}abmF1QH4PEr.E",
        "long": b"{DES-CRYPT}ab2wHQ4RTFVKI",
    },
    "SHA.hex": {
        "utf8": b"{SHA.HEX}7d1aac82347e14abccb7ee18c4076c4f88b58c21",
        "octets": b"{SHA.HEX}434e459988ddef9cca69cf5f38855aa37b219c7a",
        "empty": b"{SHA.HEX}da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "long": b"{SHA.HEX}29b0e7878271645fffb7eec7db4a7473a1c00bc1",
    },
    "SSHA512.hex": {
        "utf8": b"{SSHA512.HEX}0d096852c527e009e22f70d615592515bf58213cf11e06395c370d55e1933fe0ae4f0b0e857621c9b839f9938a17229b2cc73b08d3565b7863e14874abb2bd746aed307c",
        "octets": b"{SSHA512.HEX}7d4dcaaf9728297c0ab6fcacdc8c8066ed6c52072727276b9fb721f0ec42b48c4443d61062cd804480a1a0bfc8413acc3cb0763df700411223559d25793cb18f27091f64",
        "empty": b"{SSHA512.HEX}17878decc7a2764f96dc6cf7ee925bfeeeb00c70275b720d47b67d582804cd25e0a6d54e917fdb50f57bcd41d2ce46fce2a459a4be0f40185d6aa7bc478ac1624a9676ef",
        "long": b"{SSHA512.HEX}f711d7ed83643d92896d342b6454650480efac97ff8f71ddb5ad00649df8fbf9000070b68ce9f82fc8627836b06ed021acb2dcf9a2d58a2545af756313162f325154e074",
    },
    "PLAIN.b64": {
        "utf8": b"{PLAIN.B64}cMOkc3N3w7ZydDp9",
        "octets": b"{PLAIN.B64}//6AIDhiaXQ=",
        "long": b"{PLAIN.B64}MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OQ==",
    },
    "SHA256-CRYPT.b64": {
        "utf8": b"{SHA256-CRYPT.B64}JDUkMXY1dFlSSGcyLnp5ZDRLbSRoZy50ZW94a1dqNnNoRlBYeFF0UVhUdlZJOEVnTzhOaUdLN09oWWtwNGsu",
    },
}
